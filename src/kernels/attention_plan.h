// How a call of attention is cut into work for threads; shared by the forward and the backward. Cuts depend
// on the number of threads, results do not.
#pragma once

#include <vector>

#include "kernels/attention.h"
#include "kernels/attention_args.h"

namespace frugal::kernels {

// Throws from CHECK when the arguments contradict each other.
void check_attention(const Attention& args);

// The kernels' view of one kv head of one span.
AttentionHead attention_head(const Attention& args, const AttentionSpan& span, int64_t kv_head);

// Bytes of that many values, whole blocks.
inline int64_t kv_bytes(KvType type, int64_t values) {
  switch (type) {
    case KvType::f32:
      return values * 4;
    case KvType::bf16:
      return values * 2;
    case KvType::q8_0:
      return values / kQ8Values * kQ8Bytes;
    case KvType::q4_0:
      return values / kQ8Values * kQ4Bytes;
  }
  return 0;
}

inline int64_t padded(int64_t width) {
  return (width + kPad - 1) / kPad * kPad;
}

// Key positions that any of rows [begin, end) sees.
struct KeyRange {
  int64_t begin, end;
};
KeyRange keys_seen(const AttentionHead& head, int64_t row_begin, int64_t row_end);

// Pairs of (row, key) that are computed for rows [begin, end): what work is measured in.
double attention_work(const AttentionHead& head, int64_t row_begin, int64_t row_end);

// Hands out pieces of one allocation.
class Carver {
 public:
  explicit Carver(void* memory = nullptr) : next_(static_cast<float*>(memory)) {}
  float* take(int64_t floats) {
    float* piece = next_ ? next_ + taken_ : nullptr;
    taken_ += padded(floats);
    return piece;
  }
  int64_t taken() const { return taken_; }  // floats

 private:
  float* next_;
  int64_t taken_ = 0;
};

}  // namespace frugal::kernels
