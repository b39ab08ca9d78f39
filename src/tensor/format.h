// How numbers are stored. A format turns whole blocks of values into bytes and back; everything that needs to
// know a format asks here. Adding one: a file in formats/ and a line in the list of format.cpp.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace frugal {

struct Format {
  std::string_view name;         // "f32", "bf16", "q8_0": recipes, flags, tables
  std::string_view safetensors;  // its dtype there, or empty
  int64_t block;                 // values per block
  int64_t block_bytes;
  void (*decode)(const std::byte* from, float* to, int64_t values);  // values is a multiple of block
  void (*encode)(const float* from, std::byte* to, int64_t values);

  int64_t bytes(int64_t values) const { return values / block * block_bytes; }
};

namespace formats {
extern const Format f32, bf16, f16;
}

std::span<const Format* const> all_formats();
// UsageError that lists the known names.
const Format& find_format(std::string_view name);
// By safetensors dtype; null when no format stores it.
const Format* find_safetensors_format(std::string_view dtype);

}  // namespace frugal
