#include "models/config.h"

#include <nlohmann/json.hpp>

namespace frugal {

int token_id(const Json& config, const char* key) {
  const auto it = config.find(key);
  if (it == config.end() || it->is_null()) return -1;
  const Json& value = it->is_array() && !it->empty() ? it->front() : *it;
  if (!value.is_number_integer()) fail_usage("config: {} should be a token id, found {}", key, to_text(*it));
  return value.get<int>();
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
