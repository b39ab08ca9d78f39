// From the names of tokens to what they say: the "decoder" of tokenizer.json. ByteLevel, or as SentencePiece
// models have it: Metaspace, or a Sequence of Replace, ByteFallback, Fuse and Strip.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/json.h"

namespace frugal {

class TokenDecoder {
 public:
  TokenDecoder() = default;
  // Error that starts with `where` on what is not understood.
  TokenDecoder(const Json& json, const std::string& where);

  bool byte_level() const { return byte_level_; }
  // A text that begins with a space loses it: the space was not its own.
  bool strips_space() const { return strips_space_; }
  // The bytes of a token by its name, unless byte_level(). Pieces like <0x0A> are bytes where the file says
  // so.
  std::string bytes(std::string_view name) const;

 private:
  void add(const Json& json, const std::string& where);
  bool byte_level_ = false, strips_space_ = false, byte_pieces_ = false;
  std::vector<std::pair<std::string, std::string>> replacements_;
};

// The value of "<0x0A>", or -1.
int byte_of_piece(std::string_view name);

}  // namespace frugal
