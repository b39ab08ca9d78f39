// What a recipe says about learning from a teacher.
#pragma once

#include <string>
#include <vector>

#include "autograd/ops.h"
#include "core/fields.h"
#include "distill/cross.h"
#include "distill/distribution.h"

namespace frugal {

struct DistillOptions {
  std::string teacher;        // empty: there is none
  std::string how = "cache";  // cache or online
  std::string cache;          // folder; empty: in the run directory
  std::string kind = "sampled";
  int64_t draws = 50, top_k = 64, tokens = 0, rows = 16;
  double weight = 0.9;
  std::string divergence = "forward_kl";
  double beta = 0.5, temperature = 1, tau = 100;
  double lambda = 0;
  std::vector<std::string> prompts;
  int64_t prompt_tokens = 32, max_new_tokens = 0, at_once = 16;
  double sample_temperature = 1;

  void visit(FieldVisitor& v);
  bool wanted() const { return !teacher.empty(); }
  bool cached() const { return wanted() && how == "cache"; }
  // The teacher has another tokenizer than the student, or may have.
  bool crosses() const { return divergence == "uld" || divergence == "alm"; }
  bool on_policy() const { return lambda > 0; }
  CacheKind parsed_kind() const { return parse_cache_kind(kind); }
  DistillWeights weights() const { return {weight, 1 - weight}; }
  ops::DivergenceOptions divergence_options() const;  // UsageError for an unknown divergence
  CrossOptions cross_options() const;
};
// UsageError naming the key ("distill.draws") when a value is out of its range.
void check(const DistillOptions& options);

}  // namespace frugal
