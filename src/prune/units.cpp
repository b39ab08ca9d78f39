#include "prune/units.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <optional>

#include "core/error.h"
#include "prune/axes.h"

namespace frugal {
namespace {

constexpr const char* kExpertKeys[] = {"n_routed_experts", "num_experts", "num_local_experts"};

}  // namespace

int64_t Units::number(const char* key) const {
  const auto it = config.find(key);
  return it != config.end() && it->is_number_integer() ? it->get<int64_t>() : 0;
}

std::vector<int64_t> Units::with_mtp(std::vector<int64_t> kept) const {
  for (int64_t k = 0; k < mtp; ++k) kept.push_back(layers + k);
  return kept;
}

Units units_of(Model& model) {
  Units units;
  units.config = model.config();
  units.type = units.config.value("model_type", "");
  units.layers = model.shape().layers;
  units.mtp = model.shape().mtp_depth;
  units.heads = units.number("num_attention_heads");
  for (int64_t layer = 0; layer < units.layers + units.mtp; ++layer) units.dense_layers.insert(layer);
  bool routed = false, one_per_group = false;
  EachParameter each([&](const std::string& name, Tensor& value, const ParameterInfo& info) {
    units.shapes.emplace_back(name, value.shape());
    if (name.ends_with(".self_attn.k_proj.weight")) {
      units.kv_heads = units.number("num_key_value_heads");
      if (units.kv_heads == 0) units.kv_heads = units.heads;
      units.head_width = value.dim(0) / units.kv_heads;
    }
    one_per_group = one_per_group || name.ends_with(".router_scale");
    if (info.role != Role::expert) return;
    routed = true;
    units.dense_layers.erase(layer_of(name));
  });
  model.visit(each);
  if (!routed) return units;
  for (const char* key : kExpertKeys) units.experts = std::max(units.experts, units.number(key));
  if (one_per_group) {
    units.groups = units.number("num_experts_per_tok");
  } else if (units.number("n_group") > 1 && units.config.value("topk_method", "noaux_tc") != "greedy") {
    units.groups = units.number("n_group");
  }
  return units;
}

namespace {

// A size of config.json that a flag sets.
struct Size {
  const char* flag;
  std::optional<int64_t> PruneRequest::*wanted;
  std::vector<const char*> keys;  // those that the config has are set
};
const std::vector<Size>& sizes() {
  static const std::vector<Size> list = {
      {"--layers", &PruneRequest::layers, {"num_hidden_layers", "n_layer"}},
      {"--heads", &PruneRequest::heads, {"num_attention_heads"}},
      {"--kv-heads", &PruneRequest::kv_heads, {"num_key_value_heads"}},
      {"--experts", &PruneRequest::experts, {std::begin(kExpertKeys), std::end(kExpertKeys)}},
      {"--experts-per-token", &PruneRequest::experts_per_token, {"num_experts_per_tok", "experts_per_token"}},
      {"--hidden-size", &PruneRequest::hidden_size, {"hidden_size"}},
      {"--intermediate-size", &PruneRequest::intermediate_size, {"intermediate_size", "n_inner"}},
      {"--moe-intermediate-size", &PruneRequest::moe_intermediate_size, {"moe_intermediate_size"}},
      {"--shared-expert-intermediate-size",
       &PruneRequest::shared_expert_intermediate_size,
       {"shared_expert_intermediate_size"}},
  };
  return list;
}

int64_t present_size(const Units& units, const Size& size) {
  if (size.wanted == &PruneRequest::experts) return units.experts;
  if (size.wanted == &PruneRequest::kv_heads) return units.kv_heads;
  if (size.wanted == &PruneRequest::experts_per_token && units.experts == 0) return 0;
  for (const char* key : size.keys) {
    if (const int64_t value = units.number(key); value > 0) return value;
  }
  const bool gpt2_inner = size.wanted == &PruneRequest::intermediate_size && units.config.contains("n_embd");
  return gpt2_inner ? 4 * units.number("n_embd") : 0;
}

}  // namespace

Heads heads_wanted(const Units& units, const PruneRequest& request) {
  const int64_t queries = units.heads, keys = units.kv_heads, group = queries / std::max<int64_t>(1, keys);
  if (keys == 0) return {request.heads.value_or(queries), 0};
  if (!request.heads) return {request.kv_heads.value_or(keys) * group, request.kv_heads.value_or(keys)};
  const int64_t wanted = *request.heads;
  if (request.kv_heads) {
    if (wanted % *request.kv_heads != 0 || wanted / *request.kv_heads > group) {
      fail_usage("--heads {} --kv-heads {}: expected 1 to {} query heads for each of the key and value heads",
                 wanted, *request.kv_heads, group);
    }
    return {wanted, *request.kv_heads};
  }
  if (wanted % keys == 0) return {wanted, keys};
  if (wanted % group == 0) return {wanted, wanted / group};
  fail_usage("--heads {}: the model has {} heads in {} groups of {}; expected a multiple of {}{}", wanted,
             queries, keys, group, keys,
             group == keys ? "" : fmt::format(" (fewer heads a group) or of {} (fewer groups)", group));
}

namespace {

void check_sizes(const Units& units, const PruneRequest& request) {
  bool any = false;
  for (const Size& size : sizes()) {
    const std::optional<int64_t>& wanted = request.*size.wanted;
    if (!wanted) continue;
    any = true;
    const int64_t present = present_size(units, size);
    if (present == 0) {
      fail_usage("{}: a model of type {} has no such size to cut{}", size.flag, units.type,
                 size.wanted == &PruneRequest::kv_heads ? " (its keys and values are latents)" : "");
    }
    if (*wanted < 1 || *wanted > present)
      fail_usage("{} {}: the model has {}; expected 1 to {}", size.flag, *wanted, present, present);
  }
  if (!any) fail_usage("say what to keep: --layers, --heads, --experts, --intermediate-size, ...");
  if (request.experts && *request.experts % units.groups != 0) {
    fail_usage("--experts {}: they are chosen by {} groups of one size; expected a multiple of {}",
               *request.experts, units.groups, units.groups);
  }
  if (request.experts_per_token && units.groups == units.number("num_experts_per_tok") && units.groups > 1 &&
      !units.config.contains("n_group")) {
    fail_usage("--experts-per-token: a model of type {} takes one of every group", units.type);
  }
}

// What a config says of each layer, for those that are kept.
void keep_layers(const Units& units, const std::vector<int64_t>& layers, Json& config) {
  const std::vector<int64_t> all = units.with_mtp(layers);
  const auto below = [&](int64_t bound) {
    return std::ranges::count_if(all, [&](int64_t layer) { return layer < bound; });
  };
  for (const char* key : {"num_hidden_layers", "n_layer"}) {
    if (config.contains(key)) config[key] = layers.size();
  }
  for (const char* key : {"first_k_dense_replace", "max_window_layers"}) {
    if (units.config.contains(key) && units.config[key].is_number()) config[key] = below(units.number(key));
  }
  if (const auto types = units.config.find("layer_types"); types != units.config.end() && types->is_array()) {
    config["layer_types"] = Json::array();
    for (const int64_t layer : layers) config["layer_types"].push_back(types->at(static_cast<size_t>(layer)));
  }
  if (!units.config.contains("decoder_sparse_step")) return;
  config["decoder_sparse_step"] = 1;
  config["mlp_only_layers"] = Json::array();
  for (size_t i = 0; i < layers.size(); ++i) {
    if (units.dense_layers.contains(layers[i])) config["mlp_only_layers"].push_back(i);
  }
}

}  // namespace

Json pruned_config(const Units& units, const PruneRequest& request, const std::vector<int64_t>& layers) {
  Json config = units.config;
  for (const Size& size : sizes()) {
    if (!(request.*size.wanted)) continue;
    bool set = false;
    for (const char* key : size.keys) {
      if (!config.contains(key) || config[key].is_null()) continue;
      config[key] = *(request.*size.wanted);
      set = true;
    }
    if (!set) config[size.keys.back()] = *(request.*size.wanted);
  }
  keep_layers(units, layers, config);
  if (request.heads || request.kv_heads || request.hidden_size) {
    const Heads heads = heads_wanted(units, request);
    config["num_attention_heads"] = heads.queries;
    if (config.contains("num_key_value_heads") || heads.keys > 0)
      config["num_key_value_heads"] = heads.keys > 0 ? heads.keys : heads.queries;
    if (units.head_width > 0) config["head_dim"] = units.head_width;  // no longer hidden_size / heads
  }
  return config;
}

namespace {

// The pruned model, declared: its shapes say how many units are kept where. UsageError when its family cannot
// be cut so.
std::unique_ptr<Model> declare_pruned(const Json& config) {
  try {
    return create_model(config);
  } catch (const Error& error) {
    fail_usage("the pruned model would not be one: {}", error.what());
  }
}

// A side of another size than the original's, which nothing says how to cut.
void require_known_sides(const Units& units, Model& pruned, const PrunePlan& plan) {
  const std::map<std::string, Shape> originals(units.shapes.begin(), units.shapes.end());
  EachParameter each([&](const std::string& name, Tensor& value, const ParameterInfo& info) {
    const auto found = originals.find(plan.original(name));
    CHECK(found != originals.end(), "{} has no original {}", name, plan.original(name));
    const Shape &before = found->second, &after = value.shape();
    const Sides sides = sides_of(name, value, info);
    const bool rows = before.size() > 1 && before.front() != after.front() && sides.rows == Axis::none;
    const bool cols = before.back() != after.back() && sides.cols == Axis::none;
    if (rows || cols) {
      fail_usage("a model of type {} cannot be cut there: {} would go from {} to {}", units.type, name,
                 to_string(before), to_string(after));
    }
  });
  pruned.visit(each);
}

// Widths of feed-forwards that this model has none of.
void require_effect(const Units& units, const PruneRequest& request) {
  for (const Size& size : sizes()) {
    const bool width = std::string_view(size.flag).ends_with("intermediate-size");
    if (!width || !(request.*size.wanted) || *(request.*size.wanted) == present_size(units, size)) continue;
    PruneRequest alone;
    alone.*size.wanted = request.*size.wanted;
    std::vector<int64_t> layers(static_cast<size_t>(units.layers));
    std::iota(layers.begin(), layers.end(), 0);
    const auto model = declare_pruned(pruned_config(units, alone, layers));
    std::vector<std::pair<std::string, Shape>> shapes;
    EachParameter each([&](const std::string& name, Tensor& value, const ParameterInfo&) {
      shapes.emplace_back(name, value.shape());
    });
    model->visit(each);
    if (shapes == units.shapes) fail_usage("{}: no feed-forward of this model has that width", size.flag);
  }
}

}  // namespace

void check(const Units& units, const PruneRequest& request) {
  check_sizes(units, request);
  require_effect(units, request);
  std::vector<int64_t> layers(static_cast<size_t>(request.layers.value_or(units.layers)));
  std::iota(layers.begin(), layers.end(), 0);
  const auto pruned = declare_pruned(pruned_config(units, request, layers));
  PrunePlan first;  // the first units of each kind: shapes are the same whichever are kept
  first.layers = units.with_mtp(layers);
  require_known_sides(units, *pruned, first);
}

}  // namespace frugal
