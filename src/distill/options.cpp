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
          "online: forward_kl, reverse_kl, jensen_shannon, skew_forward_kl or skew_reverse_kl");
  v.field("beta", beta, "online: of the mixture of the last three");
  v.field("temperature", temperature, "online: of both distributions");
}

ops::DivergenceOptions DistillOptions::divergence_options() const {
  std::string known;
  for (const auto& [name, kind_of] : kDivergences) {
    if (name == divergence) {
      return {kind_of, static_cast<float>(beta), static_cast<float>(temperature), static_cast<float>(weight),
              static_cast<float>(1 - weight)};
    }
    known += (known.empty() ? "" : ", ") + std::string(name);
  }
  fail_usage("distill.divergence = \"{}\": expected one of {}", divergence, known);
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
  o.divergence_options();
  between("draws", static_cast<double>(o.draws), 1, 1 << 16);
  between("top_k", static_cast<double>(o.top_k), 1, 1 << 16);
  between("tokens", static_cast<double>(o.tokens), 0, 1e15);
  between("rows", static_cast<double>(o.rows), 1, 1 << 16);
  between("weight", o.weight, 0, 1);
  between("beta", o.beta, 1e-6, 1 - 1e-6);
  between("temperature", o.temperature, 1e-3, 1e3);
}

}  // namespace frugal
