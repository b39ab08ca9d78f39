// --profile: where a verb's time went, op by op (core/profile.h).
#pragma once

#include <memory>

#include "cli/cli.h"
#include "core/profile.h"

namespace frugal::cli {

class ProfileFlag {
 public:
  void declare(Command& command);
  // From here on `ctx` is profiled, if the user asked for it.
  void start(Context& ctx);
  // Ends it. With --json the phases go into `report` under "profile", else as tables to stderr.
  void finish(Context& ctx, const CommonOptions& common, Json* report = nullptr);

 private:
  bool on_ = false;
  std::shared_ptr<Profile> profile_;
};

// A table of a phase's ops, most time first, and what is to be known of the phase as a whole.
std::string profile_table(const Profile::Phase& phase, int threads);
Json profile_json(const std::vector<Profile::Phase>& phases, int threads);

}  // namespace frugal::cli
