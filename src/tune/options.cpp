#include "tune/options.h"

#include "core/error.h"
#include "tune/method.h"

namespace frugal {

void TuneData::visit(FieldVisitor& v) {
  v.field("train", train,
          "examples to learn: .jsonl files, folders or globs (docs/tuning.md has the layouts)");
  v.field("valid", valid, "examples for validation; none: it is left out");
  v.field("pack", pack, "several examples a row, each attending to itself only; else one");
  v.field("turns", turns, "which of the assistant's turns are learnt: all or last");
  v.field("too_long", too_long, "examples longer than train.context: cut, drop or error");
}

Turns TuneData::parsed_turns() const {
  if (turns == "all") return Turns::all;
  if (turns == "last") return Turns::last;
  fail_usage("data.turns = '{}': expected all or last", turns);
}

TuneOptions::TuneOptions() {
  train.batch = 8;
  train.context = 512;
  train.optimizer.lr = 2e-4;
  train.optimizer.weight_decay = 0;
  train.optimizer.beta2 = 0.999;
  train.schedule.name = "cosine";
  train.schedule.warmup_steps = 10;
  train.mtp_lambda = train.mtp_lambda_late = 0;
  train.balance_alpha = train.bias_update_speed = 0;
  train.save_minutes = 5;
}

void TuneOptions::visit(FieldVisitor& v) {
  v.field("method", method, tune_methods_help());
  v.field("data", data, "");
  v.field("adapter", adapter, "");
  v.field("budget", budget, "set at least one");
  v.field("train", train, "");
  v.field("evaluations", evaluations,
          "looks at the validation examples during training, besides the one at the end");
}

void check(const TuneOptions& options) {
  find_tune_method(options.method);
  if (options.data.train.empty()) fail_usage("data.train: name .jsonl files with examples");
  options.data.parsed_turns();
  const std::string& too_long = options.data.too_long;
  if (too_long != "cut" && too_long != "drop" && too_long != "error") {
    fail_usage("data.too_long = '{}': expected cut, drop or error", too_long);
  }
  check(options.adapter, "adapter");
  check(options.budget);
  check(options.train);
  if (options.train.mtp_lambda > 0 || options.train.mtp_lambda_late > 0) {
    fail_usage("train.mtp_lambda: fine-tuning does not train multi-token prediction; leave it 0");
  }
  if (!options.whole_model() && (options.train.balance_alpha > 0 || options.train.bias_update_speed > 0)) {
    fail_usage("train.{}: an adapter leaves the model as it is, its routing too; leave it 0",
               options.train.balance_alpha > 0 ? "balance_alpha" : "bias_update_speed");
  }
  if (options.evaluations < 0 || options.evaluations > 1'000'000) {
    fail_usage("evaluations = {}: expected 0 to 1000000", options.evaluations);
  }
}

}  // namespace frugal
