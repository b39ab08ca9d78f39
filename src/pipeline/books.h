// What a run tells the ledger. Private to pipeline/.
#pragma once

#include <fmt/core.h>

#include <memory>
#include <string_view>

#include "core/error.h"
#include "meter/ledger.h"
#include "pipeline/observer.h"

namespace frugal {

// The ledger, when one is kept. A run goes on when it cannot be written; the user is told once.
class Books {
 public:
  // An empty `file`: none is kept.
  Books(const fs::path& file, const RunInfo& info, Observer& observer)
      : observer_(observer), kept_(!file.empty()) {
    guarded([&] {
      ledger_ = std::make_unique<Ledger>(file);
      run_ = ledger_->begin_run(info);
    });
  }
  void begin(std::string_view stage) {
    guarded([&] { stage_ = ledger_->begin_stage(run_, stage); });
  }
  void end(RunStatus status, const Bill& stage, const Bill& all) {
    guarded([&] {
      ledger_->finish_stage(stage_, status, stage);
      ledger_->update_run(run_, all);
    });
  }
  // What the stage at work makes is used by other runs, too.
  void shares(std::string_view key) {
    guarded([&] { ledger_->share_stage(stage_, key); });
  }
  // The run has used so many more tokens of it.
  void uses(std::string_view key, int64_t tokens) {
    guarded([&] { ledger_->use(run_, key, static_cast<double>(tokens)); });
  }
  void heartbeat(const Bill& all) {
    guarded([&] { ledger_->update_run(run_, all); });
  }
  void finish(RunStatus status, const Bill& all) {
    guarded([&] { ledger_->finish_run(run_, status, all); });
  }

 private:
  template <class F>
  void guarded(F body) {
    if (!kept_) return;
    try {
      body();
    } catch (const Error& error) {
      kept_ = false;
      observer_.warning(fmt::format("the ledger is not kept: {}", error.what()));
    }
  }
  Observer& observer_;
  bool kept_;
  std::unique_ptr<Ledger> ledger_;
  int64_t run_ = 0, stage_ = 0;
};

}  // namespace frugal
