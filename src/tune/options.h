// What a recipe says about tuning a model.
#pragma once

#include <string>
#include <vector>

#include "core/fields.h"
#include "nn/adapter.h"
#include "train/budget.h"
#include "train/options.h"
#include "tune/sequence.h"

namespace frugal {

struct TuneData {
  std::vector<std::string> train, valid;
  bool pack = true;
  std::string turns = "all";
  std::string too_long = "cut";

  void visit(FieldVisitor& v);
  Turns parsed_turns() const;  // UsageError unless all or last
};

struct TuneOptions {
  std::string method;  // of all_tune_methods(); empty: no tuning
  TuneData data;
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
