// Normalisers of tokenizer.json, in order: NFC, NFD, NFKC, NFKD, Lowercase, Strip, Prepend, Replace, and
// Sequence of them.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/json.h"

namespace frugal {

class Normalizer {
 public:
  Normalizer() = default;
  // From the "normalizer" of a tokenizer.json (null: none).
  Normalizer(const Json& json, const std::string& where);
  bool empty() const { return steps_.empty(); }
  // Bytes that are not valid UTF-8 stay as they are. Error past 64 times the text (Replace can grow it).
  std::string apply(std::string_view text) const;

 private:
  struct Step;
  void add(const Json& json, const std::string& where);
  std::vector<std::shared_ptr<const Step>> steps_;
};

}  // namespace frugal
