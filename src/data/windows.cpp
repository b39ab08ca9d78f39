#include "data/windows.h"

#include <algorithm>

#include "core/error.h"

namespace frugal {

ValidationWindows::ValidationWindows(TokenSet tokens, WindowOptions options)
    : tokens_(std::move(tokens)), options_(options) {
  if (options_.length < 1) fail_usage("window length {}: expected at least 1", options_.length);
  const int64_t all = tokens_.tokens() + 2 * tokens_.documents();
  if (options_.max_tokens > 0)
    stride_ = std::max<int64_t>(1, (all + options_.max_tokens - 1) / options_.max_tokens);
  for (int64_t document = 0; document < tokens_.documents(); document += stride_) {
    const int64_t ids = tokens_.document_tokens(document);
    targets_ += options_.framing.targets(ids);
    slots_ += options_.framing.framed_tokens(ids);
    text_bytes_ += tokens_.document_bytes(document);
  }
  if (targets_ == 0) fail("the validation text has no tokens");
}

int64_t ValidationWindows::windows() const {
  return (slots_ - 1 + options_.length - 1) / options_.length;
}

void ValidationWindows::rewind() {
  next_document_ = next_token_ = 0;
  ahead_.clear();
}

void ValidationWindows::peek(int64_t count) {
  std::vector<int32_t> buffer;
  const Framing& framing = options_.framing;
  while (static_cast<int64_t>(ahead_.size()) < count && next_document_ < tokens_.documents()) {
    const int64_t framed = framing.framed_tokens(tokens_.document_tokens(next_document_));
    const int64_t take = std::min(framed - next_token_, count - static_cast<int64_t>(ahead_.size()));
    buffer.resize(static_cast<size_t>(take));
    framing.copy(tokens_, next_document_, next_token_, take, buffer.data());
    for (int64_t i = 0; i < take; ++i) {
      const bool lead = next_token_ + i == 0;
      ahead_.push_back(
          {buffer[static_cast<size_t>(i)], static_cast<int32_t>(next_document_ / stride_), lead});
    }
    next_token_ += take;
    if (next_token_ == framed) {
      next_document_ += stride_;
      next_token_ = 0;
    }
  }
}

std::optional<TrainBatch> ValidationWindows::next(int64_t rows) {
  CHECK(rows > 0);
  const int64_t length = options_.length;
  peek(rows * length + 1);
  const auto have = static_cast<int64_t>(ahead_.size());
  if (have < 2) return std::nullopt;
  TrainBatch batch;
  batch.rows = std::min(rows, (have - 1 + length - 1) / length);
  batch.length = length;
  const int64_t size = batch.rows * length;
  const int32_t padding = std::max<int32_t>(0, options_.framing.lead());
  int32_t first_document = 0, position = 0;
  for (int64_t i = 0; i < size; ++i) {
    const Slot* slot = i < have ? &ahead_[static_cast<size_t>(i)] : nullptr;
    const Slot* after = i + 1 < have ? slot + 1 : nullptr;
    const int32_t document = slot ? slot->document : ahead_.back().document + 1;
    const bool row_start = i % length == 0;
    if (row_start) first_document = document;
    const bool new_document = !row_start && document - first_document != batch.document.back();
    if (row_start || (options_.document_mask && new_document)) {
      batch.offsets.push_back(i);
      position = 0;
    }
    batch.tokens.push_back(slot ? slot->token : padding);
    batch.targets.push_back(after && !after->lead ? after->token : -1);
    batch.positions.push_back(position++);
    batch.document.push_back(document - first_document);
  }
  batch.offsets.push_back(size);
  const int64_t used = std::min(size, have);
  ahead_.erase(ahead_.begin(), ahead_.begin() + used);
  return batch;
}

}  // namespace frugal
