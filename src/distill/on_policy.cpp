#include "distill/on_policy.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <utility>

#include "core/error.h"
#include "core/rng.h"
#include "train/loss.h"
#include "tune/packing.h"
#include "tune/replies.h"

namespace frugal {
namespace {

// The first tokens of a row's first document.
std::vector<int32_t> beginning(const TrainBatch& batch, int64_t row, int64_t most) {
  const auto first = static_cast<size_t>(row * batch.length), end = first + static_cast<size_t>(batch.length);
  size_t last = first;
  while (last < end && std::cmp_less(last - first, most) && batch.document[last] == batch.document[first])
    ++last;
  return {batch.tokens.begin() + static_cast<ptrdiff_t>(first),
          batch.tokens.begin() + static_cast<ptrdiff_t>(last)};
}

void append(TrainBatch& to, const TrainBatch& from) {
  const auto join = [](auto& all, const auto& more) { all.insert(all.end(), more.begin(), more.end()); };
  const int64_t shift = std::ssize(to.tokens);
  join(to.tokens, from.tokens);
  join(to.targets, from.targets);
  join(to.positions, from.positions);
  join(to.document, from.document);
  if (!to.offsets.empty()) to.offsets.pop_back();
  for (const int64_t offset : from.offsets) to.offsets.push_back(offset + shift);
  to.rows += from.rows;
  to.length = from.length;
}

}  // namespace

SplitTargets split_targets(const TrainBatch& rows) {
  SplitTargets out{rows.targets, std::vector<int32_t>(rows.targets.size(), -1)};
  if (rows.extra.empty()) return out;
  const std::vector<float>& own = rows.extra.at(kOwnColumn);
  for (size_t i = 0; i < own.size(); ++i) {
    if (own[i] != 0) std::swap(out.data[i], out.own[i]);
  }
  return out;
}

OwnRows::OwnRows(const Context& ctx, BatchSource& data, const Tokenizer& tokenizer, OnPolicyOptions options,
                 int64_t context)
    : context_(ctx),
      data_(data),
      tokenizer_(tokenizer),
      options_(std::move(options)),
      length_(context),
      order_(options_.prompts.size(), options_.seed, "order of prompts") {
  CHECK(options_.lambda >= 0 && options_.lambda <= 1 && options_.prompt_tokens < context);
  for (const auto& prompt : options_.prompts) CHECK(!prompt.empty() && std::ssize(prompt) < context);
  context_.tape = nullptr;
  context_.aux = nullptr;
  context_.stream_weights = true;
  context_.compute = Compute::exact;
}

void OwnRows::begin(Model& student) {
  student_ = &student;
  engine_.emplace(context_, student,
                  EngineOptions{.context = length_, .slots = static_cast<int>(options_.at_once)});
}

// What the student writes behind the prompts, a row each.
TrainBatch OwnRows::written(const std::vector<std::vector<int32_t>>& prompts, int64_t length) {
  CHECK(engine_, "begin() comes first");
  std::vector<uint64_t> seeds;
  for (size_t i = 0; i < prompts.size(); ++i) {
    seeds.push_back(hash64(fmt::format("own text {} {}", steps_, i), options_.seed));
  }
  const int64_t most = options_.max_new_tokens > 0 ? options_.max_new_tokens : length;
  const std::vector<OwnReply> texts =
      own_replies(*engine_, context_.pool, tokenizer_, prompts, seeds,
                  {options_.temperature, most, options_.stop_ids, {}, length});
  std::vector<TokenSequence> sequences;
  double tokens = 0, ended = 0;
  for (size_t i = 0; i < texts.size(); ++i) {
    sequences.push_back(SequenceBuilder::join(prompts[i], texts[i].ids));
    const Work work =
        generation_work(*student_, formats::f32, std::ssize(prompts[i]), std::ssize(texts[i].ids));
    work_.flops += work.flops;
    work_.bytes += work.bytes;
    tokens += static_cast<double>(texts[i].ids.size());
    ended += texts[i].ended;
  }
  const auto count = static_cast<double>(texts.size());
  figures_ = {{"rows that the student wrote", count},
              {"tokens that it wrote a row", tokens / count},
              {"share of its texts that ended", ended / count}};
  std::vector<std::vector<const TokenSequence*>> rows;
  for (const TokenSequence& sequence : sequences) rows.push_back({&sequence});
  TrainBatch batch = batch_of(rows, length);
  for (size_t i = 0; i < batch.document.size(); ++i) {  // none is the next of its own document's
    if (batch.document[i] != kPadding) batch.document[i] = static_cast<int32_t>(i);
  }
  return batch;
}

TrainBatch OwnRows::next(int64_t rows, int64_t length) {
  CHECK(length == length_);
  Rng rng(options_.seed, hash64("on-policy rows"), static_cast<uint64_t>(steps_) << 20);
  const double wanted = options_.lambda * static_cast<double>(rows) + rng.uniform();
  const int64_t own = std::clamp<int64_t>(static_cast<int64_t>(std::floor(wanted)), 0, rows);
  std::vector<std::vector<int32_t>> prompts;
  TrainBatch batch;
  if (options_.prompts.empty()) {
    const TrainBatch data = data_.next(rows, length);
    for (int64_t r = rows - own; r < rows; ++r) {
      prompts.push_back(beginning(data, r, options_.prompt_tokens));
    }
    if (own < rows) batch = slice_rows(data, 0, rows - own);
  } else {
    if (own < rows) batch = data_.next(rows - own, length);
    for (int64_t r = 0; r < own; ++r) prompts.push_back(options_.prompts[order_.at(asked_++)]);
  }
  if (own > 0) {
    std::vector<float> column(batch.tokens.size(), 0.0f);
    append(batch, written(prompts, length));
    column.resize(batch.tokens.size(), 1.0f);
    batch.extra = {std::move(column)};
  } else {
    figures_ = {{"rows that the student wrote", 0}};
  }
  ++steps_;
  return batch;
}

Json OwnRows::state() const {
  return {{"steps", steps_}, {"asked", asked_}, {"source", data_.state()}};
}

void OwnRows::restore(const Json& state, const std::string& where) {
  for (const char* key : {"steps", "asked"}) {
    const Json value = state.is_object() ? state.value(key, Json()) : Json();
    if (!value.is_number_integer() || value.get<int64_t>() < 0) {
      fail("{}: the data's position is not one of an on-policy distillation ({})", where, key);
    }
  }
  data_.restore(state.value("source", Json()), where);
  steps_ = state["steps"].get<int64_t>();
  asked_ = state["asked"].get<int64_t>();
}

}  // namespace frugal
