#include "prune/axes.h"

#include <array>

#include "models/gguf_names.h"

namespace frugal {
namespace {

// The end of a module's name.
struct Rule {
  std::string_view module;
  Axis out, in = Axis::none;
};
constexpr std::array kRules = {
    Rule{"embed_tokens", Axis::none, Axis::hidden},
    Rule{"lm_head", Axis::none, Axis::hidden},
    Rule{"self_attn.q_proj", Axis::heads, Axis::hidden},
    Rule{"self_attn.k_proj", Axis::kv_heads, Axis::hidden},
    Rule{"self_attn.v_proj", Axis::kv_heads, Axis::hidden},
    Rule{"self_attn.o_proj", Axis::hidden, Axis::heads},
    Rule{"self_attn.sinks", Axis::heads},
    Rule{"self_attn.q_a_proj", Axis::none, Axis::hidden},
    Rule{"self_attn.q_b_proj", Axis::heads, Axis::none},
    Rule{"self_attn.kv_a_proj_with_mqa", Axis::none, Axis::hidden},
    Rule{"self_attn.kv_b_proj", Axis::heads, Axis::none},
    Rule{"gate_proj", Axis::inner, Axis::hidden},
    Rule{"up_proj", Axis::inner, Axis::hidden},
    Rule{"down_proj", Axis::hidden, Axis::inner},
    Rule{"w1", Axis::inner, Axis::hidden},  // Mixtral
    Rule{"w3", Axis::inner, Axis::hidden},
    Rule{"w2", Axis::hidden, Axis::inner},
    Rule{"mlp.c_fc", Axis::inner, Axis::none},  // GPT-2, whose width is that of its heads
    Rule{"mlp.c_proj", Axis::none, Axis::inner},
    Rule{"mlp.gate", Axis::experts, Axis::hidden},
    Rule{"block_sparse_moe.gate", Axis::experts, Axis::hidden},
    Rule{"mlp.router", Axis::experts, Axis::hidden},
    Rule{"mlp.gate.e_score_correction_bias", Axis::experts},
    Rule{"mlp.router_scale", Axis::none, Axis::experts},
    Rule{"shared_expert_gate", Axis::none, Axis::hidden},
    Rule{"eh_proj", Axis::hidden, Axis::joined},
    Rule{"input_layernorm", Axis::hidden},
    Rule{"post_attention_layernorm", Axis::hidden},
    Rule{"model.norm", Axis::hidden},
    Rule{"enorm", Axis::hidden},
    Rule{"hnorm", Axis::hidden},
    Rule{"shared_head.norm", Axis::hidden},
};

std::string_view without_last(std::string_view name) {
  return name.substr(0, name.rfind('.'));
}

}  // namespace

Axes axes_of(const std::string& parameter) {
  std::string_view module = parameter;
  if (module.ends_with(".weight") || module.ends_with(".bias")) module = without_last(module);
  for (const Rule& rule : kRules) {
    if (!module.ends_with(rule.module)) continue;
    const size_t before = module.size() - rule.module.size();
    if (before == 0 || module[before - 1] == '.') return {rule.out, rule.in};
  }
  return {};
}

Sides sides_of(const std::string& parameter, const Tensor& value, const ParameterInfo& info) {
  const Axes axes = axes_of(parameter);
  if (value.shape().size() == 1) return {Axis::none, axes.out};
  return info.transposed ? Sides{axes.in, axes.out} : Sides{axes.out, axes.in};
}

bool takes_neurons(const std::string& parameter, const Tensor& value) {
  return value.shape().size() == 2 && axes_of(parameter).in == Axis::inner;
}

std::string feed_forward_of(const std::string& parameter) {
  return std::string(without_last(without_last(parameter)));
}

int64_t layer_of(const std::string& parameter) {
  const NumberedName name = numbered(parameter);
  return name.numbers.empty() ? -1 : name.numbers.front();
}

}  // namespace frugal
