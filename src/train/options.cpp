#include "train/options.h"

#include <cmath>

#include "core/error.h"

namespace frugal {

void TrainOptions::visit(FieldVisitor& v) {
  v.field("batch", batch, "rows per optimizer step");
  v.field("micro_batch", micro_batch, "rows at a time, to save memory; 0: all of the batch");
  v.field("context", context, "tokens per row");
  v.field("schedule", schedule, "learning rate over the budget");
  v.field("optimizer", optimizer, "");
  v.field("mtp_lambda", mtp_lambda, "weight of the multi-token-prediction loss");
  v.field("mtp_lambda_late", mtp_lambda_late, "the same, after mtp_late of the budget");
  v.field("mtp_late", mtp_late, "share of the budget after which mtp_lambda_late holds");
  v.field("balance_alpha", balance_alpha, "weight of the sequence-wise balance loss; 0: none");
  v.field("bias_update_speed", bias_update_speed, "step of the routing biases towards even loads; 0: none");
  v.field("bias_freeze", bias_freeze, "last share of the budget in which the routing biases rest");
  v.field("compute", compute, "matrix products in f32 or bf16");
  v.field("recompute", recompute, "run blocks twice instead of keeping their activations");
  v.field("eval_every", eval_every, "steps between quick evaluations; 0: only at the end");
  v.field("save_every", save_every, "steps between checkpoints; 0: by time only");
  v.field("save_minutes", save_minutes, "minutes between checkpoints; 0: by steps only");
  v.field("keep_last", keep_last, "checkpoints to keep");
  v.field("on_spike", on_spike, "when the loss spikes, diverges or is not a number: stop, rollback or skip");
  v.field("spike_threshold", spike_threshold, "standard deviations above the mean that make a spike");
  v.field("max_rollbacks", max_rollbacks, "rollbacks or skipped steps before the run stops");
}

Compute TrainOptions::compute_mode() const {
  if (compute == "f32") return Compute::exact;
  if (compute == "bf16") return Compute::bf16;
  fail_usage("train.compute = '{}': expected f32 or bf16", compute);
}

OnSpike TrainOptions::spike_action() const {
  if (on_spike == "stop") return OnSpike::stop;
  if (on_spike == "rollback") return OnSpike::rollback;
  if (on_spike == "skip") return OnSpike::skip;
  fail_usage("train.on_spike = '{}': expected stop, rollback or skip", on_spike);
}

void check(const TrainOptions& options) {
  const auto least = [](const char* name, double value, double low) {
    if (!(value >= low) || !std::isfinite(value))
      fail_usage("train.{} = {}: expected {} or more", name, value, low);
  };
  const auto whole = [&](const char* name, int64_t value, int64_t low) {
    least(name, static_cast<double>(value), static_cast<double>(low));
  };
  const auto share = [](const char* name, double value) {
    if (!(value >= 0 && value <= 1)) fail_usage("train.{} = {}: expected a share from 0 to 1", name, value);
  };
  whole("batch", options.batch, 1);
  whole("micro_batch", options.micro_batch, 0);
  whole("context", options.context, 2);
  if (options.batch > int64_t{1} << 24 || options.context > int64_t{1} << 24) {
    fail_usage("train.batch = {}, train.context = {}: expected at most {} each", options.batch,
               options.context, 1 << 24);
  }
  least("mtp_lambda", options.mtp_lambda, 0);
  least("mtp_lambda_late", options.mtp_lambda_late, 0);
  share("mtp_late", options.mtp_late);
  least("balance_alpha", options.balance_alpha, 0);
  least("bias_update_speed", options.bias_update_speed, 0);
  share("bias_freeze", options.bias_freeze);
  whole("eval_every", options.eval_every, 0);
  whole("save_every", options.save_every, 0);
  least("save_minutes", options.save_minutes, 0);
  whole("keep_last", options.keep_last, 1);
  least("spike_threshold", options.spike_threshold, 1);
  whole("max_rollbacks", options.max_rollbacks, 0);
  check(options.schedule);
  check(options.optimizer);
  options.compute_mode();
  options.spike_action();
}

}  // namespace frugal
