// The tables behind Interpreter::apply_filter.
#pragma once

#include <span>
#include <string_view>

#include "text/jinja/interpreter.h"

namespace frugal::jinja {

using Run = Interpreter&;
using V = const Value&;
using A = const Arguments&;

struct NamedFilter {
  std::string_view name;
  Value (*filter)(Run, V, A);
};
std::span<const NamedFilter> sequence_filters();

// An argument's truth; `absent` when it was not given.
inline bool flag(A a, size_t position, std::string_view name, bool absent = false) {
  const Value* v = a.find(position, name);
  return v ? v->truthy() : absent;
}

}  // namespace frugal::jinja
