// Normalisers of tokenizer.json: none, NFC, and Sequence of them.
#pragma once

#include <string>
#include <string_view>

#include "core/json.h"

namespace frugal {

class Normalizer {
 public:
  Normalizer() = default;
  // From the "normalizer" of a tokenizer.json (null: none).
  Normalizer(const Json& json, const std::string& where);
  bool empty() const { return !nfc_; }
  // Bytes that are not valid UTF-8 stay as they are.
  std::string apply(std::string_view text) const;

 private:
  void add(const Json& json, const std::string& where);
  bool nfc_ = false;
};

}  // namespace frugal
