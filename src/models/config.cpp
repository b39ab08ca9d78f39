#include "models/config.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

namespace frugal {
namespace {

constexpr int64_t kWidth = 1 << 18, kMany = 1 << 12;
constexpr int64_t kMatrices = 1 << 17;  // layers times experts

struct Limit {
  const char* key;
  int64_t most;
};
constexpr std::array kLimits = {Limit{"vocab_size", 1 << 24},
                                Limit{"hidden_size", kWidth},
                                Limit{"n_embd", kWidth},
                                Limit{"intermediate_size", 1 << 20},
                                Limit{"n_inner", 1 << 20},
                                Limit{"moe_intermediate_size", kWidth},
                                Limit{"shared_expert_intermediate_size", kWidth},
                                Limit{"q_lora_rank", kWidth},
                                Limit{"kv_lora_rank", kWidth},
                                Limit{"head_dim", kMany},
                                Limit{"qk_nope_head_dim", kMany},
                                Limit{"qk_rope_head_dim", kMany},
                                Limit{"v_head_dim", kMany},
                                Limit{"num_attention_heads", kMany},
                                Limit{"num_key_value_heads", kMany},
                                Limit{"n_head", kMany},
                                Limit{"num_hidden_layers", kMany},
                                Limit{"n_layer", kMany},
                                Limit{"num_nextn_predict_layers", 64},
                                Limit{"n_shared_experts", kMany},
                                Limit{"n_routed_experts", kMatrices},
                                Limit{"num_experts", kMatrices},
                                Limit{"num_local_experts", kMatrices}};

// Of a whole number beyond int64 the largest one.
int64_t whole_number(const Json& config, const char* key) {
  const auto it = config.find(key);
  if (it == config.end() || !it->is_number_integer()) return 0;
  const bool huge = it->is_number_unsigned() && it->get<uint64_t>() > uint64_t{INT64_MAX};
  return huge ? INT64_MAX : it->get<int64_t>();
}

}  // namespace

void require_plausible(const Json& config, const std::string& model) {
  for (const auto& [key, most] : kLimits) {
    const int64_t value = whole_number(config, key);
    if (value > most) fail_usage("config of {}: {} = {}; expected at most {}", model, key, value, most);
  }
  const int64_t layers = std::max(whole_number(config, "num_hidden_layers"), whole_number(config, "n_layer"));
  for (const char* key : {"n_routed_experts", "num_experts", "num_local_experts"}) {
    const int64_t experts = whole_number(config, key);
    if (layers > 0 && experts > kMatrices / layers) {
      fail_usage("config of {}: {} = {} in each of {} layers; expected at most {} in all", model, key,
                 experts, layers, kMatrices);
    }
  }
}

std::string model_type_of(const Json& config) {
  return config.value("model_type", "");
}

int token_id(const Json& config, const char* key) {
  const auto it = config.find(key);
  if (it == config.end() || it->is_null()) return -1;
  const Json& value = it->is_array() && !it->empty() ? it->front() : *it;
  if (!value.is_number_integer()) fail_usage("config: {} should be a token id, found {}", key, to_text(*it));
  const auto id = value.get<int64_t>();
  if (id < -1 || id > INT32_MAX) fail_usage("config: {} = {}, which is no token id", key, to_text(value));
  return static_cast<int>(id);
}

Json completed_config(const Json& given, const Json& known, const char* hf_class, const char* model_type) {
  Json out = Json::object();
  out["architectures"] = Json::array({hf_class});
  out["model_type"] = model_type;
  for (const auto& [key, value] : known.items()) out[key] = value;
  for (const auto& [key, value] : given.items()) {
    if (key != "architectures" && key != "model_type") out[key] = value;
  }
  return out;
}

}  // namespace frugal
