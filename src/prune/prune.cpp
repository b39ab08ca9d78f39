#include "prune/prune.h"

#include <optional>
#include <unordered_map>

#include "core/error.h"
#include "prune/axes.h"
#include "prune/units.h"
#include "train/evaluate.h"

namespace frugal {
namespace {

struct Original {
  Tensor* value;
  ParameterInfo info;
};

// Values kept of units that are `width` values each.
std::vector<int64_t> widened(const std::vector<int64_t>& units, int64_t width) {
  std::vector<int64_t> values;
  for (const int64_t unit : units) {
    for (int64_t i = 0; i < width; ++i) values.push_back(unit * width + i);
  }
  return values;
}

class Cutter {
 public:
  Cutter(Context& ctx, Model& original, const PrunePlan& plan, const Format& packed)
      : ctx_(ctx), plan_(plan), packed_(packed), width_(original.shape().hidden_size) {
    CHECK(original.layout() == WeightLayout{}, "weights to be pruned are loaded as mapped_hf or copied_f32");
    EachParameter each([&](const std::string& name, Tensor& value, const ParameterInfo& info) {
      originals_.emplace(name, Original{&value, info});
    });
    original.visit(each);
    const Units units = units_of(original);
    heads_ = units.heads;
    kv_heads_ = units.kv_heads;
  }

  // What becomes of the pruned model's parameter `name`, of shape `wanted`.
  Tensor part(const std::string& name, const Shape& wanted) const {
    const std::string from = plan_.original(name);
    const auto found = originals_.find(from);
    CHECK(found != originals_.end(), "{} has no original {}", name, from);
    const auto& [value, info] = found->second;
    const Sides sides = sides_of(from, *value, info);
    const auto rows = kept(from, sides.rows, value->shape().size() == 1 ? 1 : value->dim(0));
    const auto cols = kept(from, sides.cols, value->cols());
    Tensor out = rows || cols ? cut(*value, rows, cols) : *value;
    CHECK(out.shape() == wanted, "{} became {}, not {}", name, to_string(out.shape()), to_string(wanted));
    const std::string norm = from.substr(0, from.rfind('.'));
    if (const auto factor = plan_.norm_factors.find(norm); factor != plan_.norm_factors.end()) {
      for (float& weight : out.values()) weight = static_cast<float>(weight * factor->second);
    }
    return out;
  }

 private:
  // Indices kept along one side of `size` values; none: all of them.
  std::optional<std::vector<int64_t>> kept(const std::string& name, Axis side, int64_t size) const {
    const auto by_layer = [&](const std::map<int64_t, std::vector<int64_t>>& all,
                              int64_t units) -> std::optional<std::vector<int64_t>> {
      const auto found = all.find(layer_of(name));
      if (found == all.end()) return std::nullopt;
      return widened(found->second, size / units);
    };
    switch (side) {
      case Axis::none:
        return std::nullopt;
      case Axis::heads:
        return by_layer(plan_.heads, heads_);
      case Axis::kv_heads:
        return by_layer(plan_.kv_heads, kv_heads_);
      case Axis::experts:
        return by_layer(plan_.experts, size);
      case Axis::hidden:
        if (plan_.channels.empty()) return std::nullopt;
        return plan_.channels;
      case Axis::joined: {
        if (plan_.channels.empty()) return std::nullopt;
        std::vector<int64_t> both = plan_.channels;
        for (const int64_t channel : plan_.channels) both.push_back(width_ + channel);
        return both;
      }
      case Axis::inner: {
        const auto found = plan_.neurons.find(feed_forward_of(name));
        if (found == plan_.neurons.end()) return std::nullopt;
        return found->second;
      }
    }
    return std::nullopt;
  }

  Tensor cut(const Tensor& from, const std::optional<std::vector<int64_t>>& rows,
             const std::optional<std::vector<int64_t>>& cols) const {
    Shape shape = from.shape();
    const auto count_of = [](const std::vector<int64_t>& list) { return std::ssize(list); };
    if (rows) shape.front() = count_of(*rows);
    if (cols) shape.back() = count_of(*cols);
    const Format& format = from.format().block > 1 || !from.as_stored() ? packed_ : from.format();
    Tensor out = Tensor::empty(ctx_, shape, format);
    if (ctx_.dry_run()) return out;
    const int64_t wide = from.cols(), narrow = out.cols();
    ctx_.pool.parallel_for(out.rows(), 16, [&](int64_t begin, int64_t end, int) {
      std::vector<float> whole(static_cast<size_t>(wide)), some(static_cast<size_t>(narrow));
      for (int64_t r = begin; r < end; ++r) {
        const int64_t source = rows ? (*rows)[static_cast<size_t>(r)] : r;
        from.decode_rows(source, source + 1, whole.data());
        for (int64_t c = 0; c < narrow; ++c) {
          some[static_cast<size_t>(c)] =
              whole[static_cast<size_t>(cols ? (*cols)[static_cast<size_t>(c)] : c)];
        }
        format.encode(some.data(), out.data() + format.bytes(r * narrow), narrow);
      }
    });
    return out;
  }

  Context& ctx_;
  const PrunePlan& plan_;
  const Format& packed_;
  int64_t width_, heads_ = 0, kv_heads_ = 0;
  std::unordered_map<std::string, Original> originals_;
};

}  // namespace

std::unique_ptr<Model> prune_model(Context& ctx, Model& original, const PrunePlan& plan,
                                   const Format& packed) {
  CHECK(packed.block == 1, "{} comes in blocks", packed.name);
  const Cutter cutter(ctx, original, plan, packed);
  auto model = create_model(plan.config);
  EachParameter each([&](const std::string& name, Tensor& value, const ParameterInfo&) {
    value = cutter.part(name, value.shape());
  });
  model->visit(each);
  return model;
}

std::vector<double> loss_without_layers(Context& ctx, Model& model, ValidationWindows& windows, int64_t rows,
                                        const std::function<void(double)>& progress) {
  const double whole = validate(ctx, model, windows, rows).loss;
  std::vector<double> growth;
  const int64_t layers = model.shape().layers;
  for (int64_t layer = 0; layer < layers; ++layer) {
    const auto without = prune_model(ctx, model, plan_without_layer(model, layer), formats::f32);
    growth.push_back(validate(ctx, *without, windows, rows).loss - whole);
    if (progress) progress(static_cast<double>(layer + 1) / static_cast<double>(layers));
  }
  return growth;
}

}  // namespace frugal
