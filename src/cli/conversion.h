// A model from one file format and number format to another, with its tokenizer and settings: what convert
// and quantize do.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "core/context.h"
#include "core/files.h"
#include "io/gguf_mix.h"
#include "io/importance.h"

namespace frugal::cli {

struct Conversion {
  const Format* format = nullptr;                // of matrices; null: as they are
  const GgufMix* mix = nullptr;                  // in place of `format`: by tensor, GGUF only
  const Importance* importance = nullptr;        // of the source's parameters; null: all inputs count alike
  std::function<void(const std::string&)> note;  // told of substitutes and of what is left out
  fs::path adapter;                              // to be merged into the weights; empty: none
};

// `source` as find_model() gives it, an adapter too, which is then merged into its base model; `out` is a
// GGUF file when it ends in .gguf, else a directory in Hugging Face layout. Returns the bytes of the weights.
// UsageError when that cannot be meant.
uint64_t convert_model(Context& ctx, const fs::path& source, const fs::path& out,
                       const Conversion& conversion);

}  // namespace frugal::cli
