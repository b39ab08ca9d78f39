#include "io/gguf_mix.h"

#include <algorithm>
#include <array>
#include <charconv>

namespace frugal {
namespace {

// The first and the last eighth of the layers, and every third between.
bool matters_more(int64_t layer, int64_t layers) {
  const int64_t eighth = layers / 8;
  return layer < eighth || layer >= 7 * layers / 8 || (layer - eighth) % 3 == 2;
}

struct LayerTensor {
  int64_t layer = -1;     // -1: in no layer
  std::string_view what;  // "attn_v"
};
LayerTensor parse(std::string_view tensor) {
  constexpr std::string_view kLayer = "blk.", kEnd = ".weight";
  LayerTensor out;
  if (tensor.ends_with(kEnd)) tensor.remove_suffix(kEnd.size());
  out.what = tensor;
  if (!tensor.starts_with(kLayer)) return out;
  tensor.remove_prefix(kLayer.size());
  const auto [end, error] = std::from_chars(tensor.data(), tensor.data() + tensor.size(), out.layer);
  if (error != std::errc{}) return out;
  out.what = tensor.substr(static_cast<size_t>(end - tensor.data()));
  if (out.what.starts_with('.')) out.what.remove_prefix(1);
  return out;
}

}  // namespace

const Format& GgufMix::format_of(std::string_view tensor, int64_t layers, bool tied) const {
  const LayerTensor t = parse(tensor);
  const auto is = [&](std::initializer_list<std::string_view> names) {
    return std::ranges::find(names, t.what) != names.end();
  };
  if (is({"output"}) || (tied && is({"token_embd"}))) return *head;
  if (t.layer < 0) return *base;
  const bool more = matters_more(t.layer, layers);
  if (is({"attn_v", "attn_kv_b", "attn_k_b", "attn_v_b"})) return more ? *value_more : *value;
  if (is({"ffn_down", "ffn_down_exps", "ffn_down_shexp"})) return more ? *down_more : *down;
  if (is({"attn_output"})) return *output;
  return *base;
}

std::span<const GgufMix> all_gguf_mixes() {
  using namespace formats;
  static constexpr std::array list = {
      GgufMix{"q2_k_m", &q2_k, &q6_k, &q4_k, &q4_k, &q3_k, &q4_k, &q3_k},
      GgufMix{"q3_k_m", &q3_k, &q6_k, &q4_k, &q5_k, &q4_k, &q5_k, &q4_k},
      GgufMix{"q4_k_m", &q4_k, &q6_k, &q4_k, &q6_k, &q4_k, &q6_k, &q4_k},
      GgufMix{"q5_k_m", &q5_k, &q6_k, &q5_k, &q6_k, &q5_k, &q6_k, &q5_k},
  };
  return list;
}

const GgufMix* find_gguf_mix(std::string_view name) {
  const auto all = all_gguf_mixes();
  const auto it = std::ranges::find(all, name, &GgufMix::name);
  return it == all.end() ? nullptr : &*it;
}

}  // namespace frugal
