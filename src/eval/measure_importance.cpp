#include "eval/measure_importance.h"

#include <unordered_map>

#include "autograd/aux.h"
#include "eval/window_batch.h"
#include "io/parameters.h"

namespace frugal {
namespace {

// Sums in double: a long text adds millions of squares.
class SquaresByColumn : public InputObserver {
 public:
  SquaresByColumn(ThreadPool& pool, Model& model) : pool_(pool) {
    for (const auto& p : ParameterList(model).parameters) names_.emplace(p.value->data(), p.name);
  }

  void product(const Tensor& weight, const float* x, int64_t rows, int64_t in) override {
    const auto name = names_.find(weight.data());
    if (name == names_.end() || rows == 0) return;
    Sums& sums = by_name_[name->second];
    sums.squares.resize(static_cast<size_t>(in));
    sums.rows += rows;
    pool_.parallel_for(in, 256, [&](int64_t begin, int64_t end, int) {
      for (int64_t r = 0; r < rows; ++r) {
        for (int64_t c = begin; c < end; ++c) {
          const double value = x[r * in + c];
          sums.squares[static_cast<size_t>(c)] += value * value;
        }
      }
    });
  }

  Importance importance() const {
    Importance out;
    for (const auto& [name, sums] : by_name_) {
      Importance::Matrix& matrix = out.matrices[name];
      matrix.rows = sums.rows;
      for (const double square : sums.squares)
        matrix.mean_squares.push_back(static_cast<float>(square / static_cast<double>(sums.rows)));
    }
    return out;
  }

 private:
  struct Sums {
    std::vector<double> squares;
    int64_t rows = 0;
  };
  ThreadPool& pool_;
  std::unordered_map<const std::byte*, std::string> names_;
  std::unordered_map<std::string, Sums> by_name_;
};

}  // namespace

Importance measure_importance(Context& ctx, Model& model, ValidationWindows& windows, int64_t rows,
                              const std::function<void(double)>& progress) {
  SquaresByColumn squares(ctx.pool, model);
  Aux aux;
  aux.inputs = &squares;
  Context observed = ctx;
  observed.tape = nullptr;
  observed.aux = &aux;
  windows.rewind();
  Importance out;
  int64_t done = 0, tokens = 0, context = 0;
  while (const auto batch = windows.next(rows)) {
    const Batch text = window_batch(*batch).batch;
    const Hidden hidden = model.forward(observed, text, nullptr);
    // The head's outputs are not needed.
    squares.product(model.head(), hidden.normed.f32(), hidden.normed.rows(), hidden.normed.cols());
    done += batch->rows;
    tokens += text.rows();
    context = batch->length;
    if (progress) progress(static_cast<double>(done) / static_cast<double>(windows.windows()));
  }
  windows.rewind();
  out = squares.importance();
  out.tokens = tokens;
  out.context = context;
  return out;
}

}  // namespace frugal
