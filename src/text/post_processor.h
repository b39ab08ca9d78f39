// What a tokenizer puts around a text: ids before and after it (BOS, EOS), from the "post_processor" of
// tokenizer.json.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/json.h"

namespace frugal {

struct PostProcessor {
  std::vector<int32_t> before, after;

  PostProcessor() = default;
  // null, ByteLevel (changes offsets only), TemplateProcessing and Sequence of them. Ids must be below
  // vocab_size.
  PostProcessor(const Json& json, int32_t vocab_size, const std::string& where);

 private:
  void add(const Json& json, int32_t vocab_size, const std::string& where);
  void add_template(const Json& json, int32_t vocab_size, const std::string& where);
};

}  // namespace frugal
