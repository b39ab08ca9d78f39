#include <array>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "models/config.h"
#include "models/model.h"

namespace frugal {

extern const Architecture kDeepseekV2, kDeepseekV3, kGpt2, kLlama, kMistral, kQwen2, kQwen2Moe, kQwen3,
    kQwen3Moe, kPanguEmbedded, kPanguProMoe, kPanguUltraMoe, kGptOss, kMixtral;

std::span<const Architecture* const> all_architectures() {
  static constexpr std::array list = {&kDeepseekV3,  &kDeepseekV2,    &kLlama,    &kMistral, &kQwen2,
                                      &kQwen3,       &kQwen2Moe,      &kQwen3Moe, &kGpt2,    &kPanguEmbedded,
                                      &kPanguProMoe, &kPanguUltraMoe, &kGptOss,   &kMixtral};
  return list;
}

const Architecture* find_architecture(const Json& config) {
  const auto it = config.find("model_type");
  if (it == config.end() || !it->is_string()) return nullptr;
  for (const Architecture* architecture : all_architectures()) {
    if (architecture->model_type == it->get<std::string>()) return architecture;
  }
  return nullptr;
}

std::unique_ptr<Model> create_model(const Json& config) {
  if (const Architecture* architecture = find_architecture(config)) {
    require_plausible(config, std::string(architecture->model_type));
    return architecture->create(config);
  }
  const auto it = config.find("model_type");
  const std::string type = it != config.end() && it->is_string() ? it->get<std::string>() : "";
  std::string known;
  for (const Architecture* architecture : all_architectures()) {
    known += (known.empty() ? "" : ", ") + std::string(architecture->model_type);
  }
  fail("config.json: model_type '{}' is not supported; supported: {}", type, known);
}

}  // namespace frugal
