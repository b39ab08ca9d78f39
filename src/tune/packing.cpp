#include "tune/packing.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <numeric>

#include "core/error.h"
#include "core/rng.h"
#include "data/hash.h"

namespace frugal {
namespace {

constexpr size_t kWaiting = 64;  // sequences to choose from

// A row that is all padding.
TrainBatch blank(int64_t rows, int64_t length) {
  const auto size = static_cast<size_t>(rows * length);
  return {rows,
          length,
          std::vector<int32_t>(size, 0),
          std::vector<int32_t>(size, -1),
          std::vector<int32_t>(size, 0),
          std::vector<int32_t>(size, kPadding),
          {}};
}

// Writes a sequence to places [at, ...) and returns where it ends.
int64_t place(const TokenSequence& sequence, int64_t at, int32_t document, TrainBatch& batch) {
  batch.offsets.push_back(at);
  const size_t size = sequence.tokens.size();
  for (size_t i = 0; i < size; ++i) {
    const size_t to = static_cast<size_t>(at) + i;
    batch.tokens[to] = sequence.tokens[i];
    batch.positions[to] = static_cast<int32_t>(i);
    batch.document[to] = document;
    if (i + 1 < size && sequence.learnt[i + 1]) batch.targets[to] = sequence.tokens[i + 1];
    if (batch.extra.empty()) continue;
    for (size_t c = 0; c < sequence.extra.size(); ++c) batch.extra[c][to] = sequence.extra[c][i];
  }
  return at + static_cast<int64_t>(size);
}

void pad(int64_t at, int64_t end, TrainBatch& batch) {
  if (at == end) return;
  batch.offsets.push_back(at);
  for (int64_t i = at; i < end; ++i) batch.positions[static_cast<size_t>(i)] = static_cast<int32_t>(i - at);
}

int64_t size_of(const TokenSequence& sequence) {
  return static_cast<int64_t>(sequence.tokens.size());
}

}  // namespace

std::string key_of(const std::vector<TokenSequence>& sequences) {
  Hasher128 hasher;
  for (const TokenSequence& sequence : sequences) {
    hasher.update_number(sequence.tokens.size());
    hasher.update(sequence.tokens.data(), sequence.tokens.size() * sizeof(int32_t));
    for (const bool learnt : sequence.learnt) hasher.update_number(learnt);
    for (const std::vector<float>& column : sequence.extra) {
      hasher.update(column.data(), column.size() * sizeof(float));
    }
  }
  return hasher.finish().hex();
}

PackedBatches::PackedBatches(std::vector<TokenSequence> sequences, const PackingOptions& options)
    : sequences_(std::move(sequences)), options_(options), key_(key_of(sequences_)) {
  if (sequences_.empty()) fail("there are no examples to learn from");
  for (const TokenSequence& sequence : sequences_) {
    CHECK(sequence.targets() > 0);
    columns_ = std::max(columns_, sequence.extra.size());
  }
}

void PackedBatches::refill() {
  while (waiting_.size() < kWaiting) {
    if (ordered_epoch_ != epoch_) {
      order_.resize(sequences_.size());
      std::iota(order_.begin(), order_.end(), 0);
      Rng rng(options_.seed, hash64("order of examples"), static_cast<uint64_t>(epoch_) << 32);
      for (size_t i = order_.size(); options_.shuffle && i > 1; --i)
        std::swap(order_[i - 1], order_[rng.below(i)]);
      ordered_epoch_ = epoch_;
    }
    waiting_.push_back(order_[static_cast<size_t>(next_++)]);
    if (next_ == sequences()) {
      next_ = 0;
      ++epoch_;
    }
  }
}

void PackedBatches::fill_row(TrainBatch& batch, int64_t row) {
  const int64_t begin = row * batch.length, end = begin + batch.length;
  int64_t at = begin;
  for (int32_t document = 0; document == 0 || options_.pack; ++document) {
    refill();
    // The row begins with the sequence that has waited longest; then the longest that fits follows.
    auto chosen = waiting_.begin();
    if (document > 0) {
      chosen = waiting_.end();
      for (auto it = waiting_.begin(); it != waiting_.end(); ++it) {
        const int64_t size = size_of(sequences_[static_cast<size_t>(*it)]);
        const bool fits = at + size <= end;
        if (fits && (chosen == waiting_.end() || size > size_of(sequences_[static_cast<size_t>(*chosen)])))
          chosen = it;
      }
      if (chosen == waiting_.end()) break;
    }
    const TokenSequence& sequence = sequences_[static_cast<size_t>(*chosen)];
    if (size_of(sequence) > batch.length) {
      fail("an example of {} tokens does not fit into rows of train.context = {}", size_of(sequence),
           batch.length);
    }
    at = place(sequence, at, document, batch);
    ++given_;
    tokens_given_ += size_of(sequence);
    targets_given_ += sequence.targets();
    waiting_.erase(chosen);
  }
  pad(at, end, batch);
}

TrainBatch PackedBatches::next(int64_t rows, int64_t length) {
  TrainBatch batch = blank(rows, length);
  batch.extra.assign(columns_, std::vector<float>(batch.tokens.size(), 0.0f));
  for (int64_t row = 0; row < rows; ++row) fill_row(batch, row);
  batch.offsets.push_back(rows * length);
  return batch;
}

Json PackedBatches::state() const {
  return {{"key", key_},     {"seed", options_.seed},   {"epoch", epoch_},     {"next", next_},
          {"given", given_}, {"tokens", tokens_given_}, {"waiting", waiting_}, {"targets", targets_given_}};
}

void PackedBatches::restore(const Json& state, const std::string& where) {
  const auto whole = [&](const char* name, int64_t most) {
    const auto found = state.is_object() ? state.find(name) : state.end();
    if (found == state.end() || !found->is_number_integer() || found->get<int64_t>() < 0 ||
        found->get<int64_t>() > most) {
      fail("{}: the data position is damaged ({})", where, name);
    }
    return found->get<int64_t>();
  };
  constexpr int64_t kMost = int64_t{1} << 50;
  if (!state.is_object() || state.value("key", std::string()) != key_) {
    fail("{}: the position is one in other examples (or another tokenizer or context); choose another output",
         where);
  }
  if (static_cast<uint64_t>(whole("seed", INT64_MAX)) != options_.seed) {
    fail("{}: the position is one of another seed; choose another output", where);
  }
  const auto waiting = state.find("waiting");
  if (waiting == state.end() || !waiting->is_array() || waiting->size() > kWaiting) {
    fail("{}: the data position is damaged (waiting)", where);
  }
  std::vector<int64_t> list;
  for (const Json& item : *waiting) {
    if (!item.is_number_integer() || item.get<int64_t>() < 0 || item.get<int64_t>() >= sequences()) {
      fail("{}: the data position is damaged (waiting)", where);
    }
    list.push_back(item.get<int64_t>());
  }
  next_ = whole("next", sequences() - 1);
  epoch_ = whole("epoch", INT32_MAX);
  given_ = whole("given", kMost);
  tokens_given_ = whole("tokens", kMost);
  targets_given_ = whole("targets", kMost);
  waiting_ = std::move(list);
}

double PackedBatches::epoch() const {
  return static_cast<double>(given_) / static_cast<double>(sequences());
}

std::vector<TrainBatch> in_order(const std::vector<TokenSequence>& sequences, int64_t rows, int64_t length) {
  std::vector<TrainBatch> batches;
  size_t next = 0;
  while (next < sequences.size()) {
    TrainBatch batch = blank(rows, length);
    for (int64_t row = 0; row < rows; ++row) {
      int64_t at = row * length;
      const int64_t end = at + length;
      for (int32_t document = 0; next < sequences.size() && at + size_of(sequences[next]) <= end;
           ++document) {
        at = place(sequences[next++], at, document, batch);
      }
      CHECK(at > row * length || next == sequences.size(), "a sequence longer than a row");
      pad(at, end, batch);
    }
    batch.offsets.push_back(rows * length);
    batches.push_back(std::move(batch));
  }
  return batches;
}

TrainBatch batch_of(const std::vector<std::vector<const TokenSequence*>>& rows, int64_t length) {
  TrainBatch batch = blank(std::ssize(rows), length);
  for (size_t row = 0; row < rows.size(); ++row) {
    const int64_t begin = static_cast<int64_t>(row) * length, end = begin + length;
    int64_t at = begin;
    for (size_t i = 0; i < rows[row].size(); ++i) {
      CHECK(at + size_of(*rows[row][i]) <= end, "a sequence does not fit into its row");
      at = place(*rows[row][i], at, static_cast<int32_t>(i), batch);
    }
    pad(at, end, batch);
  }
  batch.offsets.push_back(batch.rows * length);
  return batch;
}

TrainBatch compact(const TrainBatch& rows) {
  TrainBatch out{1, 0, {}, {}, {}, {}, {0}};
  out.first = rows.first;
  out.extra.resize(rows.extra.size());
  for (size_t s = 0; s + 1 < rows.offsets.size(); ++s) {
    const auto begin = static_cast<size_t>(rows.offsets[s]), end = static_cast<size_t>(rows.offsets[s + 1]);
    if (rows.document[begin] == kPadding) continue;
    const auto append = [&](auto& to, const auto& from) {
      to.insert(to.end(), from.begin() + static_cast<ptrdiff_t>(begin),
                from.begin() + static_cast<ptrdiff_t>(end));
    };
    append(out.tokens, rows.tokens);
    append(out.targets, rows.targets);
    append(out.positions, rows.positions);
    append(out.document, rows.document);
    for (size_t c = 0; c < rows.extra.size(); ++c) append(out.extra[c], rows.extra[c]);
    out.offsets.push_back(std::ssize(out.tokens));
  }
  out.length = std::ssize(out.tokens);
  return out;
}

TrainRows without_padding(const TrainBatch& rows) {
  TrainBatch all = compact(rows);
  TrainRows out;
  out.batch.tokens = std::move(all.tokens);
  out.batch.positions = std::move(all.positions);
  out.batch.offsets = std::move(all.offsets);
  out.targets = std::move(all.targets);
  out.extra = std::move(all.extra);
  return out;
}

}  // namespace frugal
