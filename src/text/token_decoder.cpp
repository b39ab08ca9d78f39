#include "text/token_decoder.h"

#include <algorithm>

#include "text/json_fields.h"

namespace frugal {

int byte_of_piece(std::string_view name) {
  const auto digit = [](char c) {
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                  : -1;
  };
  if (name.size() != 6 || !name.starts_with("<0x") || name[5] != '>') return -1;
  const int high = digit(name[3]), low = digit(name[4]);
  return high < 0 || low < 0 ? -1 : 16 * high + low;
}

TokenDecoder::TokenDecoder(const Json& json, const std::string& where) {
  add(json, where);
}

void TokenDecoder::add(const Json& json, const std::string& where) {
  const JsonFields fields(json, where);
  const std::string type = fields.text("type");
  if (byte_level_) fail("{}: '{}' after ByteLevel is not supported", where, type);
  if (type == "Sequence") {
    fields.only({"type", "decoders"});
    const Json& list = fields.list("decoders");
    for (size_t i = 0; i < list.size(); ++i) add(list[i], fmt::format("{}.decoders[{}]", where, i));
  } else if (type == "ByteLevel") {
    fields.only({"type", "add_prefix_space", "trim_offsets", "use_regex"});
    if (byte_pieces_ || strips_space_ || !replacements_.empty()) fail("{}: ByteLevel after others", where);
    byte_level_ = true;
  } else if (type == "Metaspace") {
    fields.only({"type", "replacement", "add_prefix_space", "prepend_scheme", "split"});
    const std::string scheme = fields.has("prepend_scheme") ? fields.text("prepend_scheme") : "always";
    strips_space_ = scheme != "never" && fields.flag("add_prefix_space", true);
    replacements_.emplace_back(fields.literal("replacement"), " ");
  } else if (type == "Replace") {
    fields.only({"type", "pattern", "content"});
    const JsonFields pattern(fields.object("pattern"), where + ".pattern");
    pattern.only({"String"});
    replacements_.emplace_back(pattern.literal("String"), fields.text("content"));
  } else if (type == "ByteFallback") {
    fields.only({"type"});
    byte_pieces_ = true;
  } else if (type == "Fuse") {
    fields.only({"type"});
  } else if (type == "Strip") {
    fields.only({"type", "content", "start", "stop"});
    if (fields.text("content") != " " || fields.number("start", 2) != 1 || fields.number("stop", 1) != 0) {
      fail("{}: only a space at the start can be stripped", where);
    }
    strips_space_ = true;
  } else {
    fail(
        "{}: decoder '{}' is not supported (ByteLevel, Metaspace, Replace, ByteFallback, Fuse, Strip and "
        "Sequence "
        "are)",
        where, type);
  }
  for (const auto& [text, content] : replacements_) {
    if (content.size() > text.size()) fail("{}: a replacement longer than what it replaces", where);
  }
  if (replacements_.size() > 16) fail("{}: more than 16 replacements", where);
}

std::string TokenDecoder::bytes(std::string_view name) const {
  if (const int byte = byte_pieces_ ? byte_of_piece(name) : -1; byte >= 0) return {static_cast<char>(byte)};
  std::string out(name), before;
  for (const auto& [text, content] : replacements_) {
    before.swap(out);
    out.clear();
    for (size_t at = 0; at < before.size();) {
      const size_t found = std::min(before.find(text, at), before.size());
      out.append(before, at, found - at);
      if (found < before.size()) out += content;
      at = found + text.size();
    }
  }
  return out;
}

}  // namespace frugal
