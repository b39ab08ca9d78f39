// Formats by tensor: most bits where an error costs most. The names and the choice follow llama.cpp's file
// types: the head, the values of attention and the second half of the feed-forward get more than the rest,
// the last two again more in some of the layers.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "tensor/format.h"

namespace frugal {

struct GgufMix {
  std::string_view name;
  const Format* base;                // of what is not named below, the embedding of an untied head included
  const Format* head;                // output.weight, or the embedding that is the head, too
  const Format *value, *value_more;  // attn_v, and MLA's kv_b, k_b and v_b
  const Format *down, *down_more;    // ffn_down, of experts as well
  const Format* output;              // attn_output

  // Of a matrix by its name in the file; `layers` of the model; `tied`: the embedding is the head.
  const Format& format_of(std::string_view tensor, int64_t layers, bool tied) const;
};

std::span<const GgufMix> all_gguf_mixes();
// Null when there is none of that name.
const GgufMix* find_gguf_mix(std::string_view name);

}  // namespace frugal
