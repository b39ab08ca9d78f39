#include "data/stream.h"

#include <cmath>
#include <condition_variable>
#include <exception>
#include <limits>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <thread>

#include "core/error.h"

namespace frugal {
namespace {

using Position = std::vector<SourcePosition>;  // one per source

int64_t total(const Position& position, int64_t SourcePosition::*member) {
  int64_t sum = 0;
  for (const auto& source : position) sum += source.*member;
  return sum;
}

struct Request {
  int64_t rows = 0, length = 0;
  Position start;
};
struct Prepared {
  int64_t rows = 0, length = 0;
  TrainBatch batch;
  Position end;
  std::exception_ptr error;
};

}  // namespace

struct BatchStream::State {
  std::vector<StreamSource> sources;
  StreamOptions options;
  std::vector<Packer> packers;
  Position position;

  // The prefetching thread takes `request` and leaves `prepared`; `busy` covers the time between.
  std::mutex mutex;
  std::condition_variable changed;
  std::optional<Request> request;
  std::optional<Prepared> prepared;
  bool busy = false, stop = false;
  std::thread thread;

  size_t source_of_next_row(const Position& at, int64_t length) const;
  void build(Position& at, int64_t rows, int64_t length, TrainBatch& batch) const;
  void work();
  void wait_until_idle(std::unique_lock<std::mutex>& lock) {
    changed.wait(lock, [&] { return !busy && !request; });
  }
};

// The source that is furthest behind its share; the lowest index among equals.
size_t BatchStream::State::source_of_next_row(const Position& at, int64_t length) const {
  const auto after = static_cast<double>(total(at, &SourcePosition::tokens) + length);
  size_t best = 0;
  double most = -std::numeric_limits<double>::infinity();
  for (size_t i = 0; i < sources.size(); ++i) {
    const double behind = sources[i].weight * after - static_cast<double>(at[i].tokens);
    if (behind > most) {
      most = behind;
      best = i;
    }
  }
  return best;
}

void BatchStream::State::build(Position& at, int64_t rows, int64_t length, TrainBatch& batch) const {
  batch.rows = rows;
  batch.length = length;
  const auto size = static_cast<size_t>(rows * length);
  for (auto* part : {&batch.tokens, &batch.targets, &batch.positions, &batch.document}) part->assign(size, 0);
  batch.offsets.clear();
  for (int64_t row = 0; row < rows; ++row) {
    const size_t source = sources.size() == 1 ? 0 : source_of_next_row(at, length);
    packers[source].fill_row(at[source], batch, row, options.document_mask);
  }
  batch.offsets.push_back(rows * length);
}

void BatchStream::State::work() {
  std::unique_lock lock(mutex);
  for (;;) {
    changed.wait(lock, [&] { return stop || request; });
    if (stop) return;
    Request job = std::move(*request);
    request.reset();
    busy = true;
    lock.unlock();
    Prepared result{job.rows, job.length, {}, std::move(job.start), nullptr};
    try {
      build(result.end, job.rows, job.length, result.batch);
    } catch (...) {
      result.error = std::current_exception();
    }
    lock.lock();
    prepared = std::move(result);
    busy = false;
    changed.notify_all();
  }
}

BatchStream::BatchStream(std::vector<StreamSource> sources, StreamOptions options)
    : state_(std::make_unique<State>()) {
  CHECK(!sources.empty());
  if (options.piece_length < 1) fail_usage("row length {}: expected at least 1", options.piece_length);
  double sum = 0;
  for (const auto& source : sources) {
    if (!(source.weight > 0) || !std::isfinite(source.weight)) {
      fail_usage("data.weights: {}: expected numbers above 0", source.weight);
    }
    sum += source.weight;
  }
  for (auto& source : sources) source.weight /= sum;
  state_->sources = std::move(sources);
  state_->options = std::move(options);
  state_->position.resize(state_->sources.size());
  for (size_t i = 0; i < state_->sources.size(); ++i) {
    state_->packers.emplace_back(state_->sources[i].tokens, state_->options.framing,
                                 state_->options.piece_length, state_->options.seed, i);
    if (state_->packers.back().order().pieces() == 0)
      fail("data.train: source {} has no tokens to train on", i + 1);
  }
  state_->thread = std::thread([state = state_.get()] { state->work(); });
}

BatchStream::~BatchStream() {
  {
    const std::lock_guard lock(state_->mutex);
    state_->stop = true;
  }
  state_->changed.notify_all();
  state_->thread.join();
}

TrainBatch BatchStream::next(int64_t rows, int64_t length) {
  State& s = *state_;
  if (rows < 1 || length < 1)
    fail_usage("a batch of {} rows of {} tokens: expected at least 1", rows, length);
  if (targets_per_epoch() / rows < length) {
    fail(
        "the training text has {} tokens, fewer than one batch of {} rows of {}; add text or make batches "
        "smaller",
        targets_per_epoch(), rows, length);
  }
  TrainBatch batch;
  std::unique_lock lock(s.mutex);
  s.wait_until_idle(lock);
  if (s.prepared && s.prepared->rows == rows && s.prepared->length == length) {
    Prepared ready = std::move(*s.prepared);
    s.prepared.reset();
    if (ready.error) std::rethrow_exception(ready.error);
    batch = std::move(ready.batch);
    s.position = std::move(ready.end);
  } else {  // the first batch, or another shape than was expected
    s.prepared.reset();
    s.build(s.position, rows, length, batch);
  }
  s.request = Request{rows, length, s.position};
  lock.unlock();
  s.changed.notify_all();
  return batch;
}

Json BatchStream::state() const {
  Json sources = Json::array();
  for (const auto& source : state_->position) {
    Json waiting = Json::array();
    for (const Piece& piece : source.waiting) waiting.push_back({piece.document, piece.begin, piece.end});
    sources.push_back({{"epoch", source.epoch},
                       {"next", source.next},
                       {"tokens", source.tokens},
                       {"targets", source.targets},
                       {"waiting", std::move(waiting)}});
  }
  return {{"version", 1},
          {"data", state_->options.key},
          {"seed", state_->options.seed},
          {"piece_length", state_->options.piece_length},
          {"sources", std::move(sources)}};
}

static Position parse_position(const Json& state, const std::string& where) {
  Position position;
  try {
    for (const auto& source : state.at("sources")) {
      SourcePosition at;
      at.epoch = source.at("epoch").get<int64_t>();
      at.next = source.at("next").get<int64_t>();
      at.tokens = source.at("tokens").get<int64_t>();
      at.targets = source.at("targets").get<int64_t>();
      for (const auto& piece : source.at("waiting")) {
        at.waiting.push_back(
            {piece.at(0).get<int64_t>(), piece.at(1).get<int64_t>(), piece.at(2).get<int64_t>()});
      }
      position.push_back(std::move(at));
    }
  } catch (const nlohmann::json::exception&) {
    fail("{}: the saved data position is damaged", where);
  }
  return position;
}

void BatchStream::restore(const Json& state, const std::string& where) {
  State& s = *state_;
  const auto same = [&](const char* key, const Json& expected, const char* what) {
    const auto it = state.is_object() ? state.find(key) : state.end();
    if (!state.is_object() || it == state.end()) fail("{}: the saved data position is damaged", where);
    if (*it != expected) {
      fail(
          "{}: the saved data position is for another {} ({}, now {}); resume with the same, or start a new "
          "run",
          where, what, to_text(*it), to_text(expected));
    }
  };
  same("version", 1, "version of Frugal");
  same("data", s.options.key, "training text, tokenizer or cleaning");
  same("seed", s.options.seed, "seed");
  same("piece_length", s.options.piece_length, "row length");
  Position position = parse_position(state, where);
  if (position.size() != s.packers.size()) fail("{}: the saved data position is damaged", where);
  for (size_t i = 0; i < position.size(); ++i) {
    if (const char* problem = s.packers[i].problem(position[i])) {
      fail("{}: the saved data position is damaged: {}", where, problem);
    }
  }
  std::unique_lock lock(s.mutex);
  s.wait_until_idle(lock);
  s.prepared.reset();
  s.position = std::move(position);
}

double BatchStream::epoch() const {
  return static_cast<double>(targets_seen()) / static_cast<double>(targets_per_epoch());
}
int64_t BatchStream::tokens_seen() const {
  return total(state_->position, &SourcePosition::tokens);
}
int64_t BatchStream::targets_seen() const {
  return total(state_->position, &SourcePosition::targets);
}
int64_t BatchStream::targets_per_epoch() const {
  int64_t sum = 0;
  for (const auto& packer : state_->packers) sum += packer.order().targets();
  return sum;
}
std::vector<int64_t> BatchStream::source_tokens() const {
  std::vector<int64_t> tokens;
  for (const auto& source : state_->position) tokens.push_back(source.tokens);
  return tokens;
}

}  // namespace frugal
