// How a run shows itself while it works. Libraries print nothing; the command line listens and draws.
#pragma once

#include <string>
#include <string_view>

#include "meter/bill.h"
#include "train/trainer.h"

namespace frugal {

struct Progress {
  std::string_view stage;
  double fraction = 0;               // of the stage
  const StepRecord* step = nullptr;  // while training
  Bill bill;                         // of the stage so far
};

class Observer {
 public:
  virtual ~Observer() = default;
  virtual void stage_begins(std::string_view name, std::string_view help) = 0;
  // `summary` is what came out, for people. A skipped stage was done by an earlier run.
  virtual void stage_ends(std::string_view name, const std::string& summary, const Bill& bill,
                          bool skipped) = 0;
  virtual void progress(const Progress& progress) = 0;
  virtual void note(const std::string& text) = 0;     // a plan, a checkpoint, an evaluation
  virtual void warning(const std::string& text) = 0;  // something went wrong that does not stop the run
};

}  // namespace frugal
