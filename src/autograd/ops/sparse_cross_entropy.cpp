// Cross-entropy against a teacher's sparse distribution, fused with the head as cross_entropy is. With W the
// sum of all weights of a row, K its listed ids and q_t the student's probability outside K,
//   d(loss) / d(logit j) = W q_j - w_j - hard_j - [j not in K] tail q_j / q_t.
#include <algorithm>
#include <cmath>

#include "autograd/ops.h"
#include "autograd/ops/vocabulary.h"
#include "core/error.h"
#include "kernels/rowwise.h"

namespace frugal::ops {
namespace {

struct Row {
  std::span<const int32_t> ids;
  std::span<const float> weights;
  float tail = 0;
  int32_t hard = -1;
  float hard_weight = 0;

  double weight() const {
    double sum = static_cast<double>(tail) + (hard >= 0 ? static_cast<double>(hard_weight) : 0.0);
    for (const float w : weights) sum += static_cast<double>(w);
    return sum;
  }
};

struct Problem {
  const SparseTargets& targets;
  std::span<const int32_t> hard;
  float hard_weight;

  Row row(int64_t r) const {
    const auto at = static_cast<size_t>(r);
    const auto begin = static_cast<size_t>(targets.offsets[at]);
    const size_t count = static_cast<size_t>(targets.offsets[at + 1]) - begin;
    Row out{targets.ids.subspan(begin, count), targets.weights.subspan(begin, count)};
    if (!targets.tails.empty()) out.tail = targets.tails[at];
    if (!hard.empty() && hard_weight != 0) {
      out.hard = hard[at];
      out.hard_weight = hard_weight;
    }
    return out;
  }
  bool wanted(int64_t r) const {
    const Row here = row(r);
    return !here.ids.empty() || here.hard >= 0;
  }
};

void check(const Tensor& hidden, const Tensor& head, const SparseTargets& targets,
           std::span<const int32_t> hard) {
  const auto rows = static_cast<size_t>(hidden.rows());
  CHECK(hidden.cols() == head.cols() && targets.offsets.size() == rows + 1);
  CHECK(targets.ids.size() == targets.weights.size() &&
        targets.offsets.back() == static_cast<int64_t>(targets.ids.size()));
  CHECK(targets.tails.empty() || targets.tails.size() == rows);
  CHECK(hard.empty() || hard.size() == rows);
  for (const int32_t id : targets.ids) CHECK(id >= 0 && id < head.dim(0), "id {} of {}", id, head.dim(0));
  for (const int32_t id : hard) CHECK(id < head.dim(0), "target {} of {}", id, head.dim(0));
}

// The student's probability outside the listed ids; added up, since 1 - sum loses all digits of a small rest.
double outside(std::span<const float> q, const Row& row) {
  std::vector<int32_t> listed(row.ids.begin(), row.ids.end());
  std::ranges::sort(listed);
  double sum = 0;
  size_t next = 0;
  for (size_t j = 0; j < q.size(); ++j) {
    if (next < listed.size() && static_cast<size_t>(listed[next]) == j) {
      ++next;
    } else {
      sum += static_cast<double>(q[j]);
    }
  }
  return std::max(sum, 1e-30);
}

// Turns q, the student's probabilities, into d(loss) / d(logits) times scale.
void gradient_of_row(const Row& row, double q_outside, float scale, std::span<float> q) {
  const auto all = static_cast<float>(row.weight());
  const float tail = row.tail == 0 ? 0 : static_cast<float>(static_cast<double>(row.tail) / q_outside);
  std::vector<float> listed;
  for (const int32_t id : row.ids) listed.push_back(q[static_cast<size_t>(id)]);
  for (float& value : q) value *= scale * (all - tail);
  for (size_t i = 0; i < row.ids.size(); ++i) {
    q[static_cast<size_t>(row.ids[i])] = scale * (all * listed[i] - row.weights[i]);
  }
  if (row.hard >= 0) q[static_cast<size_t>(row.hard)] -= scale * row.hard_weight;
}

// Loss of one row whose logits are z; they become the gradient when one is wanted. `first` is what the kernel
// is to take as the target, `lse` the log of the sum of exp(z).
class ChunkOfRows {
 public:
  ChunkOfRows(const Context& ctx, const Problem& problem, RowChunk chunk, int64_t vocab, float* logits)
      : ctx_(ctx), problem_(problem), chunk_(chunk), vocab_(vocab), logits_(logits) {}

  double run(bool gradients, float scale) {
    gather_logits();
    std::vector<float> ignored(static_cast<size_t>(chunk_.rows)), lse(static_cast<size_t>(chunk_.rows));
    kernels::cross_entropy_rows(ctx_.pool, ctx_.kernels,
                                {.rows = chunk_.rows,
                                 .vocab = vocab_,
                                 .logits = logits_,
                                 .targets = first_.data(),
                                 .gradient = true,
                                 .losses = ignored.data(),
                                 .lse = lse.data()});
    std::vector<double> losses(static_cast<size_t>(chunk_.rows));
    ctx_.pool.parallel_for(chunk_.rows, 1, [&](int64_t begin, int64_t end, int) {
      for (int64_t r = begin; r < end; ++r) {
        losses[static_cast<size_t>(r)] = finish_row(r, lse[static_cast<size_t>(r)], gradients, scale);
      }
    });
    double sum = 0;
    for (const double loss : losses) sum += loss;
    return sum;
  }

 private:
  // Logits of the listed ids and of the hard target, before the kernel overwrites them.
  void gather_logits() {
    for (int64_t r = 0; r < chunk_.rows; ++r) {
      const Row row = problem_.row(chunk_.begin + r);
      starts_.push_back(listed_.size());
      const float* z = logits_ + r * vocab_;
      for (const int32_t id : row.ids) listed_.push_back(z[id]);
      hard_.push_back(row.hard >= 0 ? z[row.hard] : 0.0f);
      first_.push_back(row.ids.empty() ? row.hard : row.ids.front());
    }
  }

  double finish_row(int64_t r, float lse, bool gradients, float scale) {
    const auto at = static_cast<size_t>(r);
    const Row row = problem_.row(chunk_.begin + r);
    const std::span<float> q(logits_ + r * vocab_, static_cast<size_t>(vocab_));
    q[static_cast<size_t>(first_[at])] += 1;  // the kernel left softmax - onehot
    double loss = 0;
    for (size_t i = 0; i < row.ids.size(); ++i) {
      loss += static_cast<double>(row.weights[i]) * static_cast<double>(lse - listed_[starts_[at] + i]);
    }
    if (row.hard >= 0) loss += static_cast<double>(row.hard_weight) * static_cast<double>(lse - hard_[at]);
    double q_outside = 1;
    if (row.tail > 0) {
      q_outside = outside(q, row);
      loss -= static_cast<double>(row.tail) * std::log(q_outside);
    }
    if (gradients) gradient_of_row(row, q_outside, scale, q);
    return loss;
  }

  const Context& ctx_;
  const Problem& problem_;
  RowChunk chunk_;
  int64_t vocab_;
  float* logits_;
  std::vector<size_t> starts_;
  std::vector<float> listed_, hard_;
  std::vector<int32_t> first_;
};

// The rows that count, as a problem of their own: the head is the dearest product.
struct Dense {
  std::vector<int64_t> rows, offsets = {0};
  std::vector<int32_t> ids, hard;
  std::vector<float> weights, tails;

  Dense(const Problem& problem, int64_t count) {
    for (int64_t r = 0; r < count; ++r) {
      if (!problem.wanted(r)) continue;
      const Row row = problem.row(r);
      rows.push_back(r);
      ids.insert(ids.end(), row.ids.begin(), row.ids.end());
      weights.insert(weights.end(), row.weights.begin(), row.weights.end());
      offsets.push_back(static_cast<int64_t>(ids.size()));
      tails.push_back(row.tail);
      hard.push_back(row.hard);
    }
  }
  SparseTargets targets() const { return {offsets, ids, weights, tails}; }
};

}  // namespace

CrossEntropyResult sparse_cross_entropy(Context& ctx, const Tensor& hidden, const Tensor& head,
                                        const SparseTargets& targets, std::span<const int32_t> hard,
                                        float hard_weight, float scale) {
  check(hidden, head, targets, hard);
  const Problem problem{targets, hard, hard_weight};
  const int64_t rows = hidden.rows(), vocab = head.dim(0);
  const Dense dense(problem, rows);
  CrossEntropyResult result{0, static_cast<int64_t>(dense.rows.size())};
  if (dense.rows.empty()) return result;
  if (result.counted < rows) {
    return sparse_cross_entropy(ctx, gather_rows(ctx, hidden, dense.rows), head, dense.targets(), dense.hard,
                                hard_weight, scale);
  }
  const bool gradients = recording(ctx, hidden, head);
  result.loss_sum =
      over_logits(ctx, hidden, head, rows_at_once(rows, vocab, hidden.cols()), gradients,
                  [&](RowChunk chunk, float* logits) {
                    return ChunkOfRows(ctx, problem, chunk, vocab, logits).run(gradients, scale);
                  });
  return result;
}

}  // namespace frugal::ops
