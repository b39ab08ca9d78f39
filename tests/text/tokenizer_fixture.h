// The fixtures that tools/make_tokenizer_golden.py wrote, and ways to vary them.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "core/files.h"
#include "core/json.h"
#include "text/tokenizer.h"

namespace frugal::test {

inline fs::path golden(const std::string& name) {
  return fs::path(FRUGAL_SOURCE_DIR) / "tests/golden/tokenizer" / name;
}

// trained.json (or another base) with some parts replaced; "model" is merged field by field.
inline Json with_parts(const Json& parts, const std::string& base = "trained.json") {
  Json file = read_json_file(golden(base));
  for (const auto& [key, value] : parts.items()) {
    if (key == "model")
      file["model"].update(value);
    else
      file[key] = value;
  }
  return file;
}
inline Tokenizer tokenizer_with(const Json& parts, const std::string& base = "trained.json") {
  return Tokenizer::from_json(to_text(with_parts(parts, base)), "", "test");
}
inline Tokenizer golden_tokenizer() {
  return tokenizer_with(Json::object());
}

}  // namespace frugal::test
