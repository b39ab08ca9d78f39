// How numbers are stored. A format turns whole blocks of values into bytes and back; everything that needs to
// know a format asks here. Adding one: a file in formats/ and a line in the list of format.cpp.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "kernels/quant_args.h"

namespace frugal {

struct Format {
  std::string_view name;              // "f32", "bf16", "q8_0": recipes, flags, tables
  std::string_view safetensors = {};  // its dtype there, or empty
  int32_t ggml = -1;                  // its type in GGUF files, or -1
  int64_t block = 1;                  // values per block
  int64_t block_bytes = 0;
  // What takes its place in a row that is no multiple of `block`: llama.cpp's choice. Null: every row fits.
  const Format* substitute = nullptr;
  // What kernels call it that multiply it with int8 activations (Compute::fast); none: no kernel does.
  kernels::Blocks blocks = kernels::Blocks::none;

  // `values` is a multiple of block; neither side needs to be aligned.
  void (*decode)(const std::byte* from, float* to, int64_t values) = nullptr;
  // As encode(); `importance` may be null.
  void (*encode_weighted)(const float* from, std::byte* to, int64_t values,
                          const float* importance) = nullptr;

  // Rounds to the format, with a small sum of importance * (value - stored)^2 in every block; without
  // `importance` (one non-negative weight per value) all count alike. Formats whose error has no choice
  // ignore it. Values that are not finite survive in f32, bf16 and f16 only; elsewhere they make their block
  // worthless.
  void encode(const float* from, std::byte* to, int64_t values, const float* importance = nullptr) const {
    encode_weighted(from, to, values, importance);
  }
  int64_t bytes(int64_t values) const { return values / block * block_bytes; }
};

namespace formats {
extern const Format f32, bf16, f16, f8_e4m3;
extern const Format q8_0, q4_0, q4_1, q5_0, q5_1, mxfp4, iq4_nl;
extern const Format q2_k, q3_k, q4_k, q5_k, q6_k;
// Codes and factors of Hugging Face's MXFP4 (block_scales.h): parts of a tensor, in no list to choose from,
// read only.
extern const Format f4_e2m1, f8_e8m0;
}  // namespace formats

std::span<const Format* const> all_formats();
// UsageError that lists the known names.
const Format& find_format(std::string_view name);
// By safetensors dtype; null when no format stores it.
const Format* find_safetensors_format(std::string_view dtype);
// By GGUF tensor type; null when no format stores it.
const Format* find_ggml_format(uint32_t type);
// `wanted`, or the first substitute that stores rows of `columns` values (f16 in the end).
const Format& format_for_rows(const Format& wanted, int64_t columns);

}  // namespace frugal
