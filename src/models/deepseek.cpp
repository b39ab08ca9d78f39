// DeepSeek-V3/R1 (arXiv 2412.19437) and V2/V2-Lite (2405.04434): multi-head latent attention, DeepSeekMoE,
// multi-token prediction. They differ in the router: V3 scores by sigmoid, chooses with a balancing bias and
// sums the best two of a group; V2 scores by softmax, has no bias and takes a group's best.
#include <nlohmann/json.hpp>

#include "models/config.h"
#include "models/deepseek_like.h"
#include "models/gguf_family.h"

namespace frugal {
namespace {

std::unique_ptr<Model> create(const Json& json, DeepseekConfig c, const char* hf_class, const char* name) {
  read_config(c, json);
  check_deepseek_like(c, name);
  return build_deepseek_like(json, write_fields(c), c, {.model_type = name, .hf_class = hf_class});
}

std::unique_ptr<Model> create_v3(const Json& json) {
  return create(json, DeepseekConfig{}, "DeepseekV3ForCausalLM", "deepseek_v3");
}

std::unique_ptr<Model> create_v2(const Json& json) {
  DeepseekConfig defaults;
  defaults.scoring_func = "softmax";
  defaults.topk_method = "greedy";
  defaults.norm_topk_prob = false;
  defaults.routed_scaling_factor = 1;
  defaults.n_group = defaults.topk_group = 1;
  defaults.first_k_dense_replace = 0;
  return create(json, defaults, "DeepseekV2ForCausalLM", "deepseek_v2");
}

}  // namespace

extern const Architecture kDeepseekV3{"deepseek_v3", "DeepseekV3ForCausalLM", create_v3, &kDeepseekV3Gguf};
extern const Architecture kDeepseekV2{"deepseek_v2", "DeepseekV2ForCausalLM", create_v2, &kDeepseekV2Gguf};

}  // namespace frugal
