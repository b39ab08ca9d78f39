#include "prune/plan.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/error.h"
#include "models/gguf_names.h"
#include "prune/axes.h"
#include "prune/units.h"

namespace frugal {
namespace {

// The `count` largest, ascending by index; of equal ones the first.
std::vector<int64_t> largest(const std::vector<double>& values, int64_t count) {
  std::vector<int64_t> order(values.size());
  std::iota(order.begin(), order.end(), 0);
  std::ranges::stable_sort(order, [&](int64_t a, int64_t b) {
    return values[static_cast<size_t>(a)] > values[static_cast<size_t>(b)];
  });
  order.resize(static_cast<size_t>(count));
  std::ranges::sort(order);
  return order;
}

std::vector<double> slice(const std::vector<double>& values, int64_t begin, int64_t count) {
  return {values.begin() + begin, values.begin() + begin + count};
}

using NormWeights = std::map<std::string, std::vector<float>>;  // by name

class Planner {
 public:
  // `norms`: those that count channels.
  Planner(const Units& units, const PruneRequest& request, const UnitImportance& importance,
          NormWeights norms)
      : units_(units), request_(request), importance_(importance), norms_(std::move(norms)) {}

  PrunePlan plan(const std::vector<double>& depth) {
    std::vector<int64_t> layers =
        largest(depth.empty() ? importance_.blocks : depth, request_.layers.value_or(units_.layers));
    plan_.config = pruned_config(units_, request_, layers);
    plan_.layers = units_.with_mtp(std::move(layers));
    keep_heads();
    keep_experts();
    keep_channels();
    keep_neurons();
    for (const auto& [what, sums] : shares_)
      plan_.kept[what] = sums.second > 0 ? sums.first / sums.second : 1;
    return std::move(plan_);
  }

 private:
  void count(const char* what, const std::vector<double>& values, const std::vector<int64_t>& kept) {
    auto& [part, whole] = shares_[what];
    for (const double value : values) whole += value;
    for (const int64_t i : kept) part += values[static_cast<size_t>(i)];
  }

  template <class Key>
  const std::vector<double>& measured(const std::map<Key, std::vector<double>>& all, const Key& key) const {
    const auto found = all.find(key);
    if (found == all.end()) fail("the text is too short to run every part of the model; give more");
    return found->second;
  }

  // Whole groups first, by what their best heads put out together, then the best within each.
  void keep_heads() {
    const Heads wanted = heads_wanted(units_, request_);
    if (wanted.queries == units_.heads || units_.heads == 0) return;
    const int64_t groups = std::max<int64_t>(1, units_.kv_heads), group = units_.heads / groups;
    const int64_t kept_groups = units_.kv_heads > 0 ? wanted.keys : 1, each = wanted.queries / kept_groups;
    for (const int64_t layer : plan_.layers) {
      const std::vector<double>& heads = measured(importance_.heads, layer);
      std::vector<double> sums;
      for (int64_t g = 0; g < groups; ++g) {
        const std::vector<double> own = slice(heads, g * group, group);
        double sum = 0;
        for (const int64_t h : largest(own, each)) sum += own[static_cast<size_t>(h)];
        sums.push_back(sum);
      }
      const std::vector<int64_t> chosen = largest(sums, kept_groups);
      std::vector<int64_t>& kept = plan_.heads[layer];
      for (const int64_t g : chosen) {
        for (const int64_t h : largest(slice(heads, g * group, group), each)) kept.push_back(g * group + h);
      }
      if (units_.kv_heads > 0 && kept_groups < groups) plan_.kv_heads[layer] = chosen;
      count("heads", heads, kept);
    }
  }

  // As many of every group.
  void keep_experts() {
    if (request_.experts.value_or(units_.experts) == units_.experts) return;
    const int64_t size = units_.experts / units_.groups, each = *request_.experts / units_.groups;
    for (const int64_t layer : plan_.layers) {
      if (units_.dense_layers.contains(layer)) continue;
      const std::vector<double>& experts = measured(importance_.experts, layer);
      std::vector<int64_t>& kept = plan_.experts[layer];
      for (int64_t g = 0; g < units_.groups; ++g) {
        for (const int64_t e : largest(slice(experts, g * size, size), each)) kept.push_back(g * size + e);
      }
      count("experts", experts, kept);
    }
  }

  void keep_channels() {
    const auto width = static_cast<int64_t>(importance_.channels.size());
    if (!request_.hidden_size || *request_.hidden_size == units_.number("hidden_size")) return;
    plan_.channels = largest(importance_.channels, *request_.hidden_size);
    count("channels", importance_.channels, plan_.channels);
    norm_factors(width);
  }

  // A norm divides by the root of the mean square over its channels. What is behind it, squared, over its
  // weight squared is each channel's share of that mean; the sum over those that are kept says by how much
  // the root would change.
  void norm_factors(int64_t width);
  void keep_neurons();

  const Units& units_;
  const PruneRequest& request_;
  const UnitImportance& importance_;
  NormWeights norms_;
  PrunePlan plan_;
  std::map<std::string, std::pair<double, double>> shares_;  // kept, all
};

void Planner::norm_factors(int64_t width) {
  const double narrower = static_cast<double>(width) / static_cast<double>(plan_.channels.size());
  double sum = 0;
  for (const auto& [norm, weights] : norms_) {
    const auto squares = importance_.norm_squares.find(norm);
    if (squares == importance_.norm_squares.end()) continue;
    std::vector<double> shares;
    for (size_t c = 0; c < weights.size(); ++c) {
      const double weight = weights[c];
      shares.push_back(weight != 0 ? squares->second[c] / (weight * weight) : 1);
    }
    double kept = 0, all = 0;
    for (const double share : shares) all += share;
    for (const int64_t c : plan_.channels) kept += shares[static_cast<size_t>(c)];
    const double factor = all > 0 && kept > 0 ? std::sqrt(narrower * kept / all) : 1;
    plan_.norm_factors[norm] = factor;
    sum += factor;
  }
  // The last norm of an MTP module is read by the head alone: as the others on average.
  const double mean = sum / static_cast<double>(std::max<size_t>(1, plan_.norm_factors.size()));
  for (const auto& [norm, weights] : norms_) plan_.norm_factors.emplace(norm, mean);
}

// How many is what the pruned model's shapes say.
void Planner::keep_neurons() {
  const auto pruned = create_model(plan_.config);
  EachParameter each([&](const std::string& name, Tensor& value, const ParameterInfo& info) {
    if (!takes_neurons(name, value)) return;
    const int64_t wanted = info.transposed ? value.dim(0) : value.cols();
    const std::string from = plan_.original(feed_forward_of(name));
    const std::vector<double>& neurons = measured(importance_.neurons, from);
    if (wanted == std::ssize(neurons)) return;
    plan_.neurons[from] = largest(neurons, wanted);
    count("neurons", neurons, plan_.neurons[from]);
  });
  pruned->visit(each);
}

}  // namespace

std::string PrunePlan::original(const std::string& name) const {
  const NumberedName key = numbered(name);
  if (key.numbers.empty()) return name;
  const int64_t layer = layers.at(static_cast<size_t>(key.numbers[0]));
  std::string from = with_layer(key.pattern, layer);
  if (key.numbers.size() < 2) return from;
  const auto kept_experts = experts.find(layer);
  return with_layer(from, kept_experts == experts.end()
                              ? key.numbers[1]
                              : kept_experts->second.at(static_cast<size_t>(key.numbers[1])));
}

void check(Model& model, const PruneRequest& request) {
  check(units_of(model), request);
}

PrunePlan plan_pruning(Model& model, const PruneRequest& request, const UnitImportance& importance,
                       const std::vector<double>& depth) {
  const Units units = units_of(model);
  check(units, request);
  NormWeights norms;
  EachParameter each([&](const std::string& name, Tensor& value, const ParameterInfo& info) {
    if (info.role == Role::norm && sides_of(name, value, info).cols == Axis::hidden)
      norms[name.substr(0, name.rfind('.'))] = value.decoded();
  });
  model.visit(each);
  return Planner(units, request, importance, std::move(norms)).plan(depth);
}

PrunePlan plan_without_layer(Model& model, int64_t layer) {
  const Units units = units_of(model);
  std::vector<int64_t> layers;
  for (int64_t l = 0; l < units.layers; ++l) {
    if (l != layer) layers.push_back(l);
  }
  PrunePlan plan;
  plan.config = pruned_config(units, {}, layers);
  plan.layers = units.with_mtp(std::move(layers));
  return plan;
}

}  // namespace frugal
