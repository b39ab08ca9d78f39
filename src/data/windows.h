// A validation set as disjoint windows, for loss and bits per byte.
//
// The framed documents (BOS text EOS) follow one another; window k holds `length` tokens of that sequence and
// the next tokens as targets, so every token but the leads (BOS) is a target exactly once and nothing is left
// out: the last window is padded with targets of -1. bits per byte = (sum of the targets' nats) /
// text_bytes() / ln 2; EOS counts in the sum, not in the bytes.
#pragma once

#include <cstdint>
#include <optional>

#include "data/batch.h"
#include "data/pieces.h"

namespace frugal {

struct WindowOptions {
  Framing framing;
  int64_t length = 0;
  bool document_mask = false;  // as in training: sequences are documents within windows, not windows
  int64_t max_tokens =
      0;  // 0: all; else whole documents, evenly spread, of about so many tokens (for quick looks)
};

class ValidationWindows {
 public:
  ValidationWindows(TokenSet tokens, WindowOptions options);  // Error when there is nothing to evaluate
  // The next `rows` windows, or fewer at the end; nothing after the last.
  std::optional<TrainBatch> next(int64_t rows);
  void rewind();
  int64_t windows() const;
  int64_t targets() const { return targets_; }
  int64_t text_bytes() const { return text_bytes_; }
  int64_t documents() const { return (tokens_.documents() + stride_ - 1) / stride_; }

 private:
  struct Slot {
    int32_t token, document;
    bool lead;
  };
  // Slots [0, count) of what follows, without moving on; fewer at the end.
  void peek(int64_t count);
  TokenSet tokens_;
  WindowOptions options_;
  int64_t stride_ = 1, targets_ = 0, slots_ = 0, text_bytes_ = 0;
  int64_t next_document_ = 0, next_token_ = 0;  // what enters slots_ahead_ next
  std::vector<Slot> ahead_;
};

}  // namespace frugal
