#include "distill/options.h"

#include <utility>

#include "core/error.h"

namespace frugal {
namespace {

constexpr std::pair<std::string_view, ops::Divergence> kDivergences[] = {
    {"forward_kl", ops::Divergence::forward_kl},
    {"reverse_kl", ops::Divergence::reverse_kl},
    {"jensen_shannon", ops::Divergence::jensen_shannon},
    {"skew_forward_kl", ops::Divergence::skew_forward_kl},
    {"skew_reverse_kl", ops::Divergence::skew_reverse_kl},
};

}  // namespace

void DistillOptions::visit(FieldVisitor& v) {
  v.field("teacher", teacher, "model to learn from; its tokenizer becomes the run's; empty: none");
  v.field("how", how, "\"cache\": the teacher reads the data once, before; \"online\": beside the student");
  v.field("cache", cache,
          "folder of the teacher's cache, for several runs; empty: teacher/ in the run directory");
  v.field("kind", kind, "sampled (unbiased) or top_k (the rest as one bucket)");
  v.field("draws", draws, "sampled: draws a token");
  v.field("top_k", top_k, "top_k: most likely ids a token");
  v.field("tokens", tokens, "that the teacher reads; the student goes over them again; 0: budget.tokens");
  v.field("rows", rows, "that the teacher reads at a time");
  v.field("weight", weight, "of the loss against the teacher; the rest is the data's own cross-entropy");
  v.field("divergence", divergence,
          "online: forward_kl, reverse_kl, jensen_shannon, skew_forward_kl or skew_reverse_kl; across "
          "tokenizers: uld or alm");
  v.field("beta", beta,
          "of the mixture of jensen_shannon (0: forward_kl, 1: reverse_kl) and the skewed divergences");
  v.field("temperature", temperature, "online: of both distributions");
  v.field("tau", tau, "alm: the temperature of chunks' likelihoods");
  v.field("lambda", lambda, "online: share of the rows that the student writes itself (on-policy)");
  v.field("prompts", prompts, "on-policy: .jsonl files of prompts to answer; none: beginnings of the data");
  v.field("prompt_tokens", prompt_tokens, "on-policy: of the beginnings");
  v.field("max_new_tokens", max_new_tokens,
          "on-policy: most that the student writes; 0: the rest of the row");
  v.field("sample_temperature", sample_temperature, "on-policy: of the student's writing");
  v.field("at_once", at_once, "on-policy: texts written at a time; each needs room for its keys and values");
}

ops::DivergenceOptions DistillOptions::divergence_options() const {
  std::string known;
  const bool end = divergence == "jensen_shannon" && (beta == 0 || beta == 1);  // as the limit is, scaled
  const std::string_view wanted = !end        ? std::string_view(divergence)
                                  : beta == 0 ? "forward_kl"
                                              : "reverse_kl";
  for (const auto& [name, kind_of] : kDivergences) {
    if (name == wanted) {
      return {kind_of, static_cast<float>(end ? 0.5 : beta), static_cast<float>(temperature),
              static_cast<float>(weight), static_cast<float>(1 - weight)};
    }
    known += (known.empty() ? "" : ", ") + std::string(name);
  }
  fail_usage("distill.divergence = \"{}\": expected one of {}, uld, alm", divergence, known);
}

CrossOptions DistillOptions::cross_options() const {
  return {divergence == "uld" ? CrossOptions::Loss::uld : CrossOptions::Loss::alm, weights(), temperature,
          tau};
}

void check(const DistillOptions& o) {
  const auto between = [](const char* key, double value, double low, double high) {
    if (!(value >= low && value <= high))
      fail_usage("distill.{} = {}: expected {} to {}", key, value, low, high);
  };
  if (o.how != "cache" && o.how != "online") {
    fail_usage("distill.how = \"{}\": expected cache or online", o.how);
  }
  o.parsed_kind();
  if (!o.crosses()) o.divergence_options();
  if (o.how != "online" && o.crosses()) {
    fail_usage(
        "distill.divergence = \"{}\": across tokenizers the teacher runs beside the student; set "
        "distill.how = \"online\"",
        o.divergence);
  }
  if (o.how != "online" && o.lambda > 0) {
    fail_usage("distill.lambda = {}: what the student writes is in no cache; set distill.how = \"online\"",
               o.lambda);
  }
  between("draws", static_cast<double>(o.draws), 1, 1 << 16);
  between("top_k", static_cast<double>(o.top_k), 1, 1 << 16);
  between("tokens", static_cast<double>(o.tokens), 0, 1e15);
  between("rows", static_cast<double>(o.rows), 1, 1 << 16);
  between("weight", o.weight, 0, 1);
  if (o.divergence == "jensen_shannon") {
    between("beta", o.beta, 0, 1);
  } else {
    between("beta", o.beta, 1e-6, 1 - 1e-6);
  }
  between("tau", o.tau, 1e-3, 1e6);
  between("lambda", o.lambda, 0, 1);
  between("prompt_tokens", static_cast<double>(o.prompt_tokens), 1, 1 << 24);
  between("max_new_tokens", static_cast<double>(o.max_new_tokens), 0, 1 << 24);
  between("at_once", static_cast<double>(o.at_once), 1, 1 << 16);
  between("sample_temperature", o.sample_temperature, 1e-3, 1e3);
  between("temperature", o.temperature, 1e-3, 1e3);
}

}  // namespace frugal
