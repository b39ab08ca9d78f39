#include "tensor/format.h"

#include <array>
#include <string>

#include "core/error.h"

namespace frugal {

std::span<const Format* const> all_formats() {
  static constexpr std::array list = {&formats::f32, &formats::bf16, &formats::f16};
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
    if (format->safetensors == dtype) return format;
  }
  return nullptr;
}

}  // namespace frugal
