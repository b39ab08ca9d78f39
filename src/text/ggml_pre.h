// The names llama.cpp gives to pre-tokenisations (tokenizer.ggml.pre), and what they mean as the
// "pre_tokenizer" of a tokenizer.json.
#pragma once

#include <string>
#include <string_view>

#include "core/json.h"

namespace frugal {

struct GgmlPre {
  std::string pre_tokenizer;   // JSON
  bool ignore_merges = false;  // a word that is a token is not taken apart
  bool add_bos = false;        // unless the file says otherwise
};
// Error listing the known names; `where` starts it. An empty name is "default", as llama.cpp takes it.
GgmlPre ggml_pre(std::string_view name, const std::string& where);
// The name of a "pre_tokenizer", or empty when it has none.
std::string_view ggml_pre_name(const Json& pre_tokenizer, bool ignore_merges);

}  // namespace frugal
