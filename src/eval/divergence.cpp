#include "eval/divergence.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "eval/window_batch.h"

namespace frugal {
namespace {

constexpr int64_t kRows = 64;  // of logits at a time: a vocabulary is large

struct RowFigures {
  double nats = 0, kl = 0;
  bool same_top = false;
};

// log sum exp, and where the largest is.
struct Normaliser {
  double log_sum = 0;
  size_t top = 0;
};
Normaliser normalise(std::span<const float> logits) {
  const auto top = std::ranges::max_element(logits);
  if (!std::isfinite(*top)) fail("the model computed no finite logit: its weights are broken");
  double sum = 0;
  for (const float x : logits) sum += std::exp(static_cast<double>(x) - *top);
  return {*top + std::log(sum), static_cast<size_t>(top - logits.begin())};
}

RowFigures compare(std::span<const float> original, std::span<const float> changed, int32_t target) {
  const Normaliser p = normalise(original), q = normalise(changed);
  RowFigures out;
  out.nats = q.log_sum - changed[static_cast<size_t>(target)];
  for (size_t i = 0; i < original.size(); ++i) {
    const double log_p = original[i] - p.log_sum;
    out.kl += std::exp(log_p) * (log_p - (changed[i] - q.log_sum));
  }
  out.kl = std::max(out.kl, 0.0);  // rounding
  out.same_top = p.top == q.top;
  return out;
}

std::span<const float> row(const Tensor& logits, int64_t r) {
  return logits.values().subspan(static_cast<size_t>(r * logits.cols()), static_cast<size_t>(logits.cols()));
}

class Comparison {
 public:
  Comparison(Context& ctx, Model& original, std::span<Model* const> changed)
      : ctx_(ctx), original_(original), changed_(changed), kl_(changed.size()) {
    out_.changed.resize(changed.size());
  }

  void add(const WindowBatch& text) {
    const Hidden before = original_.forward(ctx_, text.batch, nullptr);
    std::vector<Hidden> after;
    for (Model* model : changed_) after.push_back(model->forward(ctx_, text.batch, nullptr));
    std::vector<int64_t> wanted;
    for (size_t r = 0; r < text.targets.size(); ++r) {
      if (text.targets[r] >= 0) wanted.push_back(static_cast<int64_t>(r));
    }
    for (size_t begin = 0; begin < wanted.size(); begin += kRows) {
      const auto part =
          std::span<const int64_t>(wanted).subspan(begin, std::min<size_t>(kRows, wanted.size() - begin));
      targets_ += std::ssize(part);
      const Tensor reference = logits(ctx_, original_, before.normed, part);
      for (size_t i = 0; i < part.size(); ++i) {
        const auto own = row(reference, static_cast<int64_t>(i));
        out_.nats +=
            normalise(own).log_sum - own[static_cast<size_t>(text.targets[static_cast<size_t>(part[i])])];
      }
      for (size_t m = 0; m < changed_.size(); ++m)
        add_rows(m, reference, logits(ctx_, *changed_[m], after[m].normed, part), part, text.targets);
    }
  }

  Divergences finish() {
    for (size_t m = 0; m < kl_.size(); ++m) {
      Divergence& d = out_.changed[m];
      const auto n = static_cast<double>(std::max<int64_t>(d.targets, 1));
      d.nats /= n;
      d.kl /= n;
      d.same_top /= n;
      std::ranges::sort(kl_[m]);
      if (!kl_[m].empty()) d.kl_99 = kl_[m][kl_[m].size() * 99 / 100];
    }
    out_.nats /= static_cast<double>(std::max<int64_t>(targets_, 1));
    return out_;
  }

 private:
  void add_rows(size_t m, const Tensor& reference, const Tensor& found, std::span<const int64_t> rows,
                const std::vector<int32_t>& targets) {
    std::vector<RowFigures> figures(rows.size());
    ctx_.pool.parallel_for(std::ssize(rows), 1, [&](int64_t begin, int64_t end, int) {
      for (int64_t i = begin; i < end; ++i) {
        const auto r = static_cast<size_t>(i);
        figures[r] = compare(row(reference, i), row(found, i), targets[static_cast<size_t>(rows[r])]);
      }
    });
    Divergence& sum = out_.changed[m];
    for (const RowFigures& f : figures) {
      sum.nats += f.nats;
      sum.kl += f.kl;
      sum.same_top += f.same_top ? 1 : 0;
      kl_[m].push_back(static_cast<float>(f.kl));
    }
    sum.targets += std::ssize(rows);
  }

  Context& ctx_;
  Model& original_;
  std::span<Model* const> changed_;
  Divergences out_;
  std::vector<std::vector<float>> kl_;
  int64_t targets_ = 0;
};

}  // namespace

Divergences compare_models(Context& ctx, Model& original, std::span<Model* const> changed,
                           ValidationWindows& windows, int64_t rows,
                           const std::function<void(double)>& progress) {
  for (const Model* model : changed) {
    if (model->shape().vocab_size != original.shape().vocab_size)
      fail("models of {} and {} tokens cannot be compared", original.shape().vocab_size,
           model->shape().vocab_size);
  }
  Context quiet = ctx;
  quiet.tape = nullptr;
  quiet.aux = nullptr;
  Comparison comparison(quiet, original, changed);
  windows.rewind();
  int64_t done = 0;
  while (const auto batch = windows.next(rows)) {
    comparison.add(window_batch(*batch));
    done += batch->rows;
    if (progress) progress(static_cast<double>(done) / static_cast<double>(windows.windows()));
  }
  windows.rewind();
  return comparison.finish();
}

}  // namespace frugal
