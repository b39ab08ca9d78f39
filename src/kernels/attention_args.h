// What attention kernels are told: one kv head of one sequence, with the query heads that share it. Private
// to kernels/; C headers only, no functions (see kernels.h).
#pragma once

#include "kernels/kernels.h"

namespace frugal::kernels {

// Fixed by position in the sequence, part of every result's definition: see attention.h.
constexpr int64_t kKeyChunk = 256;
// For speed only: keys packed at a time, query rows at a time, and floats to which rows in scratch are
// padded.
constexpr int64_t kKeyBlock = 64, kRowBlock = 48, kGradKeys = 128, kPad = 16;

// "Row" r is head r % group of query r / group, so the keys a row sees grow with r.
struct AttentionHead {
  int64_t queries, group, keys;
  int64_t qk_dim, v_dim, v_padded;  // v_padded: v_dim rounded up to kPad
  const float* q;                   // of query 0, first head of the group
  int64_t q_row;
  KvType kv_type;
  const void* k;  // of key 0 and this kv head
  const void* v;
  int64_t k_row, v_row;      // from key to key, in values
  int64_t k_bytes, v_bytes;  // the same in bytes
  float scale;
  bool causal;
  int64_t window;
  bool stream;   // which of the two forms computes the scores
  bool rounded;  // queries, keys, values, weights (and gradients of both) rounded to bf16; not when streamed
};

// Softmax under way, per row: maximum, sum of exp(score - max), the same-weighted sum of values (v_padded
// floats). A row that has seen no key has max = -inf, sum = 0, out = 0.
struct AttentionState {
  float *max, *sum, *out;
};

struct AttentionScratch {
  float* q;             // (kRowBlock, qk_dim)
  float* scores;        // (kRowBlock, kKeyChunk)
  float* keys;          // (kKeyChunk / kKeyBlock, qk_dim, kKeyBlock)
  float* values;        // (kKeyChunk / kKeyBlock, kKeyBlock, v_padded)
  AttentionState part;  // kRowBlock rows
};

// Rows [row_begin, row_end) against chunks [chunk_begin, chunk_end); state's arrays begin at row_begin.
struct AttentionTask {
  int64_t row_begin, row_end, chunk_begin, chunk_end;
  AttentionState state;
  AttentionScratch scratch;
};

// Where finished rows go.
struct AttentionOutput {
  const float* sinks;  // of the group's heads, or null
  float* out;          // of query 0, first head of the group
  int64_t out_row;
  float* lse;  // likewise, or null
  int64_t lse_row;
};

// Of floats or, half as many along what a product sums, of pairs of bf16. "rows" lie along a head's width or
// the keys; "steps" along the rows for q, dout, weights and dscores, along the keys for keys: with floats the
// same arrays.
struct AttentionGradScratch {
  float *q, *q_steps, *dq;             // (kRowBlock, qk_padded)
  float *dout, *dout_steps;            // (kRowBlock, v_padded)
  float *weights, *dscores;            // (kRowBlock, kKeyBlock) of floats
  float *weight_steps, *dscore_steps;  // (kRowBlock, kKeyBlock)
  float* dscore_rows;                  // (kRowBlock, kKeyBlock)
  float* key_columns;                  // (kGradKeys / kKeyBlock, qk_dim, kKeyBlock)
  float* key_steps;                    // (kGradKeys, qk_padded)
  float* value_columns;                // (kGradKeys / kKeyBlock, v_dim, kKeyBlock)
  float *dk, *dv;                      // (kGradKeys, qk_padded), (kGradKeys, v_padded) of floats
};

// The backward of rows [row_begin, row_end) against keys [key_begin, key_end), whose ends are multiples of
// kKeyBlock or head.keys; key_begin is 0 where dq is wanted. k and v are f32. With `accumulate` adds into dk
// and dv (laid out as k, v) unless they are null, into dq unless it is null; else overwrites them.
struct AttentionGradTask {
  int64_t row_begin, row_end, key_begin, key_end;
  int64_t qk_padded;
  const float* dout;  // of query 0, first head of the group; so are the four below
  int64_t dout_row;
  const float* lse;    // (queries, heads)
  const float* delta;  // (queries, heads): dot(out, dout)
  int64_t lse_row;     // of both
  float* dq;
  int64_t dq_row;
  float *dk, *dv;  // of key 0 and this kv head
  bool accumulate;
  AttentionGradScratch scratch;
};

}  // namespace frugal::kernels
