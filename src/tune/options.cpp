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
  v.field("sums", sums,
          "instead of files so many sums made on the spot, worked out (sft) or to practise on (grpo)");
  v.field("digits", digits, "most digits of an operand of these sums");
  v.field("worked", worked,
          "sft: share of these sums that are worked out step by step; the rest state the result");
}

Turns TuneData::parsed_turns() const {
  if (turns == "all") return Turns::all;
  if (turns == "last") return Turns::last;
  fail_usage("data.turns = '{}': expected all or last", turns);
}

void SftOptions::visit(FieldVisitor& v) {
  v.field("logprobs", logprobs,
          "sft: weight of a remote teacher's top log-probabilities where examples have them; the rest is the "
          "tokens' own; 0: they are not used");
}

void DpoOptions::visit(FieldVisitor& v) {
  v.field("loss", loss, "dpo: sigmoid or ipo");
  v.field("beta", beta, "dpo: how much staying near the model as it began counts");
}

void GrpoOptions::visit(FieldVisitor& v) {
  v.field("group", group, "grpo: replies to a problem, compared with one another; train.batch is a multiple");
  v.field("updates", updates, "grpo: optimizer steps on the same replies");
  v.field("max_tokens", max_tokens, "grpo: most tokens of a reply");
  v.field("temperature", temperature, "grpo: of the replies, when sampled and when learnt from");
  v.field("stop", stop, "grpo: texts that end a reply, beside the tokens that do");
  v.field("at_once", at_once, "grpo: replies written at a time; each needs room for its keys and values");
  v.field("clip_low", clip_low, "grpo: a token's probability ratio counts from 1 - clip_low ...");
  v.field("clip_high", clip_high, "grpo: ... to 1 + clip_high");
  v.field("beta", beta, "grpo: weight of the KL divergence from the model as it began; 0: none is computed");
  v.field("loss", loss,
          "grpo: mean over all tokens (token), or over each reply's, then over replies (sequence)");
  v.field("scale_by_deviation", scale_by_deviation,
          "grpo: advantages are divided by the deviation of the group's rewards");
  v.field("reward", reward, "");
}

static void check(const DpoOptions& options) {
  if (options.loss != "sigmoid" && options.loss != "ipo") {
    fail_usage("dpo.loss = '{}': expected sigmoid or ipo", options.loss);
  }
  if (!(options.beta > 0 && options.beta <= 1000)) {
    fail_usage("dpo.beta = {}: expected a positive number", options.beta);
  }
}

static void check(const TuneData& data, const std::string& method) {
  if (data.sums < 0 || data.sums > 1'000'000'000) {
    fail_usage("data.sums = {}: expected 0 to 1000000000", data.sums);
  }
  if (data.sums == 0 && data.train.empty()) {
    fail_usage("data.train: name .jsonl files with {}", method == "grpo" ? "problems" : "examples");
  }
  if (data.sums > 0 && method == "dpo")
    fail_usage("data.sums: sums have no rejected replies; dpo needs data.train");
  if (data.sums > 0 && !(data.train.empty() && data.valid.empty())) {
    fail_usage("data.sums: examples come from there or from data.train and data.valid, not both");
  }
  if (data.digits < 2 || data.digits > 9) fail_usage("data.digits = {}: expected 2 to 9", data.digits);
  if (!(data.worked >= 0 && data.worked <= 1)) {
    fail_usage("data.worked = {}: expected a share, 0 to 1", data.worked);
  }
  data.parsed_turns();
  if (data.too_long != "cut" && data.too_long != "drop" && data.too_long != "error") {
    fail_usage("data.too_long = '{}': expected cut, drop or error", data.too_long);
  }
}

static void check(const GrpoOptions& o, const TuneOptions& all) {
  const auto between = [](const char* key, double value, double low, double high) {
    if (!(value >= low && value <= high))
      fail_usage("grpo.{} = {}: expected {} to {}", key, value, low, high);
  };
  between("group", static_cast<double>(o.group), 2, 1 << 16);
  between("updates", static_cast<double>(o.updates), 1, 1 << 16);
  between("max_tokens", static_cast<double>(o.max_tokens), 1, 1 << 24);
  between("temperature", o.temperature, 1e-3, 1e3);
  between("at_once", static_cast<double>(o.at_once), 1, 1 << 16);
  between("clip_low", o.clip_low, 0, 1);
  between("clip_high", o.clip_high, 0, 1e6);
  between("beta", o.beta, 0, 1e6);
  if (o.loss != "token" && o.loss != "sequence") {
    fail_usage("grpo.loss = '{}': expected token or sequence", o.loss);
  }
  for (const std::string& text : o.stop) {
    if (text.empty()) fail_usage("grpo.stop: an empty text would end every reply at once");
  }
  if (all.train.batch % o.group != 0) {
    fail_usage("train.batch = {}: it counts replies, so expected a multiple of grpo.group = {}",
               all.train.batch, o.group);
  }
  if (o.max_tokens >= all.train.context) {
    fail_usage("grpo.max_tokens = {}: expected less than train.context = {}, which holds the prompt as well",
               o.max_tokens, all.train.context);
  }
  if (all.adapter.dropout > 0) {
    fail_usage("adapter.dropout: replies are written by the model without it; leave it 0 with grpo");
  }
  check(o.reward, "grpo.reward");
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
  v.field("sft", sft, "");
  v.field("dpo", dpo, "");
  v.field("grpo", grpo, "");
  v.field("adapter", adapter, "");
  v.field("budget", budget, "set at least one");
  v.field("train", train, "");
  v.field("evaluations", evaluations,
          "looks at the validation examples during training, besides the one at the end");
}

void check(const TuneOptions& options) {
  find_tune_method(options.method);
  check(options.data, options.method);
  if (!(options.sft.logprobs >= 0 && options.sft.logprobs <= 1)) {
    fail_usage("sft.logprobs = {}: expected 0 to 1", options.sft.logprobs);
  }
  if (options.method == "dpo") check(options.dpo);
  if (options.method == "grpo") check(options.grpo, options);
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
