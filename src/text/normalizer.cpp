#include "text/normalizer.h"

#include "text/json_fields.h"
#include "text/unicode.h"

namespace frugal {

Normalizer::Normalizer(const Json& json, const std::string& where) {
  if (!json.is_null()) add(json, where);
}

void Normalizer::add(const Json& json, const std::string& where) {
  const JsonFields fields(json, where);
  const std::string type = fields.text("type");
  if (type == "NFC") {
    fields.only({"type"});
    nfc_ = true;  // idempotent, so a second one changes nothing
  } else if (type == "Sequence") {
    fields.only({"type", "normalizers"});
    const Json& list = fields.list("normalizers");
    for (size_t i = 0; i < list.size(); ++i) add(list[i], fmt::format("{}.normalizers[{}]", where, i));
  } else {
    fail("{}: normalizer '{}' is not supported (NFC and Sequence are)", where, type);
  }
}

std::string Normalizer::apply(std::string_view text) const {
  if (!nfc_) return std::string(text);
  std::string out;
  while (!text.empty()) {
    const size_t valid = valid_utf8_prefix(text);
    out += nfc(text.substr(0, valid));
    text.remove_prefix(valid);
    const size_t invalid = invalid_utf8_prefix(text);
    out += text.substr(0, invalid);
    text.remove_prefix(invalid);
  }
  return out;
}

}  // namespace frugal
