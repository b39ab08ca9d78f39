// Log-probabilities of given tokens as a tensor, so that any loss of them can go backward. Forward keeps one
// number a row; backward computes the logits again: with g the gradient of a row's log-probability, d(logits)
// = g (onehot - softmax).
#include "autograd/ops.h"
#include "autograd/ops/vocabulary.h"
#include "core/error.h"
#include "kernels/rowwise.h"

namespace frugal::ops {
namespace {

struct Problem {
  Tensor hidden, head;           // rows that have a target
  std::vector<int32_t> targets;  // of those rows
  std::vector<int64_t> places;   // where they stand in the result
  float temperature;
};

// Logits of a chunk become losses (-log p) and, on request, softmax - onehot in place.
void chunk_losses(const Context& ctx, const Problem& p, RowChunk chunk, float* logits, bool gradient,
                  float* losses) {
  const int64_t vocab = p.head.dim(0);
  if (p.temperature != 1) {
    kernels::scale(ctx.pool, ctx.kernels, chunk.rows * vocab, 1 / p.temperature, logits, logits);
  }
  kernels::cross_entropy_rows(ctx.pool, ctx.kernels,
                              {.rows = chunk.rows,
                               .vocab = vocab,
                               .logits = logits,
                               .targets = p.targets.data() + chunk.begin,
                               .gradient = gradient,
                               .losses = losses});
}

void backward(const Context& ctx, const Problem& p, const Tensor& y) {
  const int64_t rows = p.hidden.rows(), vocab = p.head.dim(0),
                step = rows_at_once(rows, vocab, p.hidden.cols());
  std::vector<float> losses(static_cast<size_t>(step));
  over_logits(ctx, p.hidden, p.head, step, true, [&](RowChunk chunk, float* logits) {
    chunk_losses(ctx, p, chunk, logits, true, losses.data());
    ctx.pool.parallel_for(chunk.rows, 1, [&](int64_t first, int64_t last, int) {
      for (int64_t r = first; r < last; ++r) {
        const int64_t place = p.places[static_cast<size_t>(chunk.begin + r)];
        const float factor = -y.gradient()[place] / p.temperature;
        float* row = logits + r * vocab;
        for (int64_t v = 0; v < vocab; ++v) row[v] *= factor;
      }
    });
    return 0.0;
  });
}

}  // namespace

Tensor token_log_probs(Context& ctx, const Tensor& hidden, const Tensor& head,
                       std::span<const int32_t> targets, float temperature) {
  CHECK(hidden.cols() == head.cols() && static_cast<int64_t>(targets.size()) == hidden.rows() &&
        temperature > 0);
  Tensor y = Tensor::zeros(ctx, {hidden.rows()});
  Problem p{hidden, head, {}, rows_with_target(targets), temperature};
  for (const int64_t place : p.places) {
    const int32_t target = targets[static_cast<size_t>(place)];
    CHECK(target < head.dim(0), "target {} of {}", target, head.dim(0));
    p.targets.push_back(target);
  }
  if (p.places.empty()) return y;
  if (p.places.size() < targets.size()) p.hidden = gather_rows(ctx, hidden, p.places);
  const int64_t step = rows_at_once(p.hidden.rows(), head.dim(0), head.cols());
  std::vector<float> losses(static_cast<size_t>(step));
  over_logits(ctx, p.hidden, head, step, false, [&](RowChunk chunk, float* logits) {
    chunk_losses(ctx, p, chunk, logits, false, losses.data());
    for (int64_t r = 0; r < chunk.rows; ++r) {
      y.f32()[p.places[static_cast<size_t>(chunk.begin + r)]] = -losses[static_cast<size_t>(r)];
    }
    return 0.0;
  });
  if (recording(ctx, p.hidden, head)) {
    y.require_gradient(false);
    ctx.tape->record(y, [p = std::move(p), y = y.gradient_handle()](const Context& c) { backward(c, p, y); });
  }
  return y;
}

}  // namespace frugal::ops
