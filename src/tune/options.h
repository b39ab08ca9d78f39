// What a recipe says about tuning a model.
#pragma once

#include <string>
#include <vector>

#include "core/fields.h"
#include "nn/adapter.h"
#include "train/budget.h"
#include "train/options.h"
#include "tune/rewards.h"
#include "tune/sequence.h"

namespace frugal {

struct TuneData {
  std::vector<std::string> train, valid;
  bool pack = true;
  std::string turns = "all";
  std::string too_long = "cut";
  int64_t sums = 0;
  int64_t digits = 3;
  double worked = 1;

  void visit(FieldVisitor& v);
  bool has_validation() const { return sums > 0 || !valid.empty(); }
  Turns parsed_turns() const;  // UsageError unless all or last
};

// Learning from examples.
struct SftOptions {
  double logprobs = 0;

  void visit(FieldVisitor& v);
};

// Learning from preferences (tune/preference.h).
struct DpoOptions {
  std::string loss = "sigmoid";
  double beta = 0.1;

  void visit(FieldVisitor& v);
};

// Learning from rewards (tune/policy.h).
struct GrpoOptions {
  int64_t group = 8;
  int64_t updates = 1;
  int64_t max_tokens = 256;
  double temperature = 1;
  std::vector<std::string> stop;
  int64_t at_once = 32;
  double clip_low = 0.2, clip_high = 0.2;
  double beta = 0.001;
  std::string loss = "token";
  bool scale_by_deviation = true;
  RewardOptions reward;

  void visit(FieldVisitor& v);
};

struct TuneOptions {
  std::string method;  // of all_tune_methods(); empty: no tuning
  TuneData data;
  SftOptions sft;
  DpoOptions dpo;
  GrpoOptions grpo;
  AdapterOptions adapter;
  Budget budget;
  TrainOptions train;
  int64_t evaluations = 8;

  TuneOptions();
  void visit(FieldVisitor& v);
  bool whole_model() const { return adapter.parsed_kind() == AdapterKind::none; }
};
// UsageError naming the key ("data.turns", "adapter.rank") when a value is out of its range.
void check(const TuneOptions& options);

}  // namespace frugal
