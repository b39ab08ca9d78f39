#include "tensor/format.h"

#include <array>
#include <string>

#include "core/error.h"

namespace frugal {

std::span<const Format* const> all_formats() {
  static constexpr std::array list = {
      &formats::f32,  &formats::bf16, &formats::f16,  &formats::f8_e4m3, &formats::q8_0,   &formats::q4_0,
      &formats::q4_1, &formats::q5_0, &formats::q5_1, &formats::mxfp4,   &formats::iq4_nl, &formats::q2_k,
      &formats::q3_k, &formats::q4_k, &formats::q5_k, &formats::q6_k,
  };
  return list;
}

const Format& find_format(std::string_view name) {
  std::string known;
  for (const Format* format : all_formats()) {
    if (format->name == name) return *format;
    known += known.empty() ? "" : ", ";
    known += format->name;
  }
  fail_usage("unknown number format '{}'; known: {}", name, known);
}

const Format* find_safetensors_format(std::string_view dtype) {
  for (const Format* format : all_formats()) {
    if (!dtype.empty() && format->safetensors == dtype) return format;
  }
  return nullptr;
}

const Format* find_ggml_format(uint32_t type) {
  for (const Format* format : all_formats()) {
    if (format->ggml >= 0 && static_cast<uint32_t>(format->ggml) == type) return format;
  }
  return nullptr;
}

const Format& format_for_rows(const Format& wanted, int64_t columns) {
  const Format* format = &wanted;
  while (columns % format->block != 0) {
    CHECK(format->substitute != nullptr, "{} in rows of {}", format->name, columns);
    format = format->substitute;
  }
  return *format;
}

}  // namespace frugal
