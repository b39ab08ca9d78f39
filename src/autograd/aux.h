// Side results of a forward pass that are not activations: how many tokens each expert received, the balance
// loss, and what the products with weights take in.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <vector>

namespace frugal {

class Tensor;

// Sees the inputs of every product with a weight: what an importance matrix is made of.
class InputObserver {
 public:
  virtual ~InputObserver() = default;
  // x: (rows, in) f32, valid during the call. The weight is (out, in), or (in, out) for a transposed product.
  virtual void product(const Tensor& weight, const float* x, int64_t rows, int64_t in) = 0;
};

class Aux {
 public:
  // Weight alpha of the sequence-wise balance loss (DeepSeek-V3 report, eq. 17); 0 leaves it out.
  double balance_alpha = 0;
  // Sequences the loss is averaged over: those of the whole optimizer step; 0 for those of this batch.
  int64_t balance_sequences = 0;
  bool recomputing = false;  // a block is run a second time for its backward: nothing is counted again

  InputObserver* inputs = nullptr;  // null: nobody wants to see them

  void add_counts(int layer, std::span<const int64_t> counts) {
    if (recomputing) return;
    auto& sum = counts_[layer];
    sum.resize(counts.size());
    for (size_t i = 0; i < counts.size(); ++i) sum[i] += counts[i];
  }
  void add_balance_loss(double loss) {
    if (!recomputing) balance_loss_ += loss;
  }
  // Tokens routed to each expert, by layer, over all micro-batches since clear().
  const std::map<int, std::vector<int64_t>>& counts() const { return counts_; }
  double balance_loss() const { return balance_loss_; }
  void clear() {
    counts_.clear();
    balance_loss_ = 0;
  }

 private:
  std::map<int, std::vector<int64_t>> counts_;
  double balance_loss_ = 0;
};

}  // namespace frugal
