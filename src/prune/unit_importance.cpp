#include "prune/unit_importance.h"

#include <algorithm>
#include <cmath>
#include <unordered_map>

#include "autograd/part_observer.h"
#include "core/error.h"
#include "prune/axes.h"
#include "prune/units.h"
#include "train/loss.h"

namespace frugal {
namespace {

// Sums over tokens of one thing's units.
struct Sums {
  std::vector<double> sum, squares;
  int64_t rows = 0;

  void resize(int64_t units) {
    sum.resize(static_cast<size_t>(units));
    squares.resize(static_cast<size_t>(units));
  }
};

class UnitObserver : public PartObserver {
 public:
  UnitObserver(ThreadPool& pool, Model& model) : pool_(pool), heads_(units_of(model).heads) {
    EachParameter each([&](const std::string& name, Tensor& value, const ParameterInfo& info) {
      watch(name, value, sides_of(name, value, info));
    });
    model.visit(each);
    blocks_.resize(static_cast<size_t>(model.shape().layers));
  }

  void product(const Tensor& weight, const float* x, int64_t rows, int64_t in) override {
    const auto [begin, end] = watched_.equal_range(weight.data());
    for (auto it = begin; it != end; ++it) {
      const Watch& watch = it->second;
      if (rows == 0) continue;
      if (watch.side == Axis::heads) {
        add_heads(head_sums_[watch.layer], x, rows, in);
      } else if (watch.side == Axis::inner) {
        add_columns(neuron_sums_[watch.name], x, rows, in, 0, in);
      } else if (watch.side == Axis::joined) {  // [embedding; hidden], each behind its norm
        add_columns(norm_sums_[watch.name + ".enorm"], x, rows, in, 0, in / 2);
        add_columns(norm_sums_[watch.name + ".hnorm"], x, rows, in, in / 2, in);
      } else {
        add_columns(norm_sums_[watch.name], x, rows, in, 0, in);
      }
    }
  }

  void routed(const Tensor& router, const Tensor& x, std::span<const int32_t> chosen,
              std::span<const float> weights) override {
    product(router, x.f32(), x.rows(), x.cols());
    const auto found = routers_.find(router.data());
    if (found == routers_.end()) return;
    Sums& sums = expert_sums_[found->second];
    sums.resize(router.dim(0));
    sums.rows += x.rows();
    for (size_t i = 0; i < chosen.size(); ++i) sums.sum[static_cast<size_t>(chosen[i])] += weights[i];
  }

  void block(int layer, const Tensor& before, const Tensor& after) override {
    const int64_t rows = before.rows(), width = before.cols();
    std::vector<double> cosines(static_cast<size_t>(rows));
    pool_.parallel_for(rows, 16, [&](int64_t begin, int64_t end, int) {
      for (int64_t r = begin; r < end; ++r) {
        const float *a = before.f32() + r * width, *b = after.f32() + r * width;
        double ab = 0, aa = 0, bb = 0;
        for (int64_t c = 0; c < width; ++c) {
          ab += static_cast<double>(a[c]) * b[c];
          aa += static_cast<double>(a[c]) * a[c];
          bb += static_cast<double>(b[c]) * b[c];
        }
        cosines[static_cast<size_t>(r)] = aa > 0 && bb > 0 ? ab / std::sqrt(aa * bb) : 0;
      }
    });
    Sums& sums = blocks_[static_cast<size_t>(layer)];
    sums.resize(1);
    sums.rows += rows;
    for (const double cosine : cosines) sums.sum[0] += cosine;
  }

  // What the head takes in: a forward pass ends before it.
  void head_input(const Tensor& normed) {
    add_columns(norm_sums_["model.norm"], normed.f32(), normed.rows(), normed.cols(), 0, normed.cols());
  }

  UnitImportance result() const {
    UnitImportance out;
    for (const Sums& sums : blocks_)
      out.blocks.push_back(1 - sums.sum[0] / static_cast<double>(std::max<int64_t>(1, sums.rows)));
    for (const auto& [layer, sums] : head_sums_) out.heads[layer] = means(sums.sum, sums.rows);
    for (const auto& [layer, sums] : expert_sums_) {
      double all = 0;
      for (const double mass : sums.sum) all += mass;
      for (const double mass : sums.sum) out.experts[layer].push_back(all > 0 ? mass / all : 0);
    }
    for (const auto& [name, sums] : neuron_sums_) out.neurons[name] = means(sums.sum, sums.rows);
    for (const auto& [name, sums] : norm_sums_) {
      out.norm_squares[name] = means(sums.squares, sums.rows);
      const std::vector<double> absolute = means(sums.sum, sums.rows);
      out.channels.resize(absolute.size());
      for (size_t c = 0; c < absolute.size(); ++c) out.channels[c] += absolute[c];
    }
    return out;
  }

 private:
  struct Watch {
    Axis side;
    std::string name;  // of the feed-forward, the norm, or the MTP module
    int64_t layer;
  };

  // Of the products that take in the same rows one is enough.
  void watch(const std::string& name, const Tensor& value, const Sides& sides) {
    const int64_t layer = layer_of(name);
    const std::string block = name.substr(0, name.find('.', name.find(fmt::format(".{}.", layer)) + 1));
    const auto add = [&](Axis side, const std::string& what) {
      watched_.emplace(value.data(), Watch{side, what, layer});
    };
    if (heads_ > 0 && name.ends_with(".self_attn.o_proj.weight")) add(Axis::heads, name);
    if (takes_neurons(name, value)) add(Axis::inner, feed_forward_of(name));
    if (name.ends_with(".eh_proj.weight")) add(Axis::joined, block);
    if (name.ends_with(".q_proj.weight") || name.ends_with(".q_a_proj.weight"))
      add(Axis::hidden, block + ".input_layernorm");
    if (sides.rows == Axis::experts || name.ends_with(".mlp.gate_proj.weight"))
      add(Axis::hidden, block + ".post_attention_layernorm");
    if (sides.rows == Axis::experts) routers_.emplace(value.data(), layer);
  }

  void add_columns(Sums& sums, const float* x, int64_t rows, int64_t stride, int64_t first, int64_t last) {
    sums.resize(last - first);
    sums.rows += rows;
    pool_.parallel_for(last - first, 128, [&](int64_t begin, int64_t end, int) {
      for (int64_t r = 0; r < rows; ++r) {
        for (int64_t c = begin; c < end; ++c) {
          const double value = x[r * stride + first + c];
          sums.sum[static_cast<size_t>(c)] += std::abs(value);
          sums.squares[static_cast<size_t>(c)] += value * value;
        }
      }
    });
  }

  void add_heads(Sums& sums, const float* x, int64_t rows, int64_t in) {
    const int64_t width = in / heads_;
    sums.resize(heads_);
    sums.rows += rows;
    pool_.parallel_for(heads_, 1, [&](int64_t begin, int64_t end, int) {
      for (int64_t h = begin; h < end; ++h) {
        double norms = 0;
        for (int64_t r = 0; r < rows; ++r) {
          double squares = 0;
          for (int64_t c = 0; c < width; ++c) {
            const double value = x[r * in + h * width + c];
            squares += value * value;
          }
          norms += std::sqrt(squares);
        }
        sums.sum[static_cast<size_t>(h)] += norms;
      }
    });
  }

  static std::vector<double> means(std::vector<double> sums, int64_t rows) {
    for (double& sum : sums) sum /= static_cast<double>(std::max<int64_t>(1, rows));
    return sums;
  }

  ThreadPool& pool_;
  int64_t heads_;
  std::unordered_multimap<const std::byte*, Watch> watched_;
  std::unordered_map<const std::byte*, int64_t> routers_;
  std::map<int64_t, Sums> head_sums_, expert_sums_;
  std::map<std::string, Sums> neuron_sums_, norm_sums_;
  std::vector<Sums> blocks_;
};

// The windows without the padding at the end, as one row.
TrainBatch without_padding(const TrainBatch& windows) {
  size_t rows = windows.targets.size();
  while (rows > 1 && windows.targets[rows - 1] < 0) --rows;
  TrainBatch out = windows;
  out.rows = 1;
  out.length = static_cast<int64_t>(rows);
  for (auto* list : {&out.tokens, &out.targets, &out.positions, &out.document}) list->resize(rows);
  out.offsets.clear();
  for (const int64_t offset : windows.offsets) {
    if (offset < out.length) out.offsets.push_back(offset);
  }
  out.offsets.push_back(out.length);
  return out;
}

// Experts to which no token went: what their own weights say.
void add_unseen_neurons(Model& model, UnitImportance& importance) {
  EachParameter each([&](const std::string& name, Tensor& value, const ParameterInfo& info) {
    if (info.role != Role::expert || !takes_neurons(name, value)) return;
    const std::string expert = feed_forward_of(name);
    if (importance.neurons.contains(expert)) return;
    std::vector<double>& norms = importance.neurons[expert];
    norms.resize(static_cast<size_t>(value.cols()));
    std::vector<float> row(norms.size());
    for (int64_t r = 0; r < value.rows(); ++r) {
      value.decode_rows(r, r + 1, row.data());
      for (size_t c = 0; c < row.size(); ++c) norms[c] += static_cast<double>(row[c]) * row[c];
    }
    for (double& norm : norms) norm = std::sqrt(norm);
  });
  model.visit(each);
}

void require_finite(const UnitImportance& importance) {
  const auto check = [](const std::vector<double>& values) {
    for (const double value : values) {
      if (!std::isfinite(value))
        fail("the model computes values that are not finite: its weights are broken");
    }
  };
  check(importance.blocks);
  check(importance.channels);
  for (const auto& [layer, values] : importance.heads) check(values);
  for (const auto& [layer, values] : importance.experts) check(values);
  for (const auto& [name, values] : importance.neurons) check(values);
}

}  // namespace

UnitImportance measure_unit_importance(Context& ctx, Model& model, ValidationWindows& windows, int64_t rows,
                                       const std::function<void(double)>& progress) {
  UnitObserver observer(ctx.pool, model);
  Aux aux;
  aux.inputs = &observer;
  Context observed = ctx;
  observed.tape = nullptr;
  observed.aux = &aux;
  const int64_t depth = model.shape().mtp_depth;
  windows.rewind();
  int64_t done = 0, tokens = 0;
  bool ran_mtp = depth == 0;
  while (const auto batch = windows.next(rows)) {
    const TrainBatch text = without_padding(*batch);
    const Hidden hidden = model.forward(observed, to_batch(text), nullptr);
    observer.head_input(hidden.normed);
    if (depth > 0) {
      LossSums step = count_targets(text, depth), sums;
      add_mtp_losses(observed, model, hidden, text, step, 0, sums);
      ran_mtp = ran_mtp || step.mtp_targets.back() > 0;
    }
    done += batch->rows;
    tokens += text.length;
    if (progress) progress(static_cast<double>(done) / static_cast<double>(windows.windows()));
  }
  windows.rewind();
  if (!ran_mtp) fail("the text is too short to run multi-token prediction on; give more");
  UnitImportance out = observer.result();
  add_unseen_neurons(model, out);
  out.tokens = tokens;
  require_finite(out);
  return out;
}

}  // namespace frugal
