#include "text/normalizer.h"

#include <functional>
#include <optional>

#include "text/json_fields.h"
#include "text/regex.h"
#include "text/unicode.h"

namespace frugal {
namespace {

constexpr size_t kMaxSteps = 64;

// Puts f(run) in place of every run of valid UTF-8.
std::string each_valid(std::string_view text, const std::function<void(std::string_view, std::string&)>& f) {
  std::string out;
  while (!text.empty()) {
    const size_t valid = valid_utf8_prefix(text);
    if (valid > 0) f(text.substr(0, valid), out);
    text.remove_prefix(valid);
    const size_t invalid = invalid_utf8_prefix(text);
    out += text.substr(0, invalid);
    text.remove_prefix(invalid);
  }
  return out;
}

void lowercase(std::string_view text, std::string& out) {
  const char* const end = text.data() + text.size();
  for (const char* p = text.data(); p < end;) {
    const DecodedChar c = decode_utf8(p, end);
    append_lower(out, c.code);
    p += c.bytes;
  }
}

bool is_space(std::string_view text, size_t at, size_t& bytes) {
  const DecodedChar c = decode_utf8(text.data() + at, text.data() + text.size());
  bytes = c.bytes;
  return c.code != kInvalidChar && char_classes()[c.code] == CharClass::space;
}

std::string_view strip(std::string_view text, bool left, bool right) {
  size_t bytes = 0;
  while (left && !text.empty() && is_space(text, 0, bytes)) text.remove_prefix(bytes);
  while (right && !text.empty()) {
    size_t at = text.size() - 1;
    while (at > 0 && text.size() - at < 4 && (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80) --at;
    if (!is_space(text, at, bytes) || at + bytes != text.size()) break;
    text.remove_suffix(bytes);
  }
  return text;
}

std::optional<NormalForm> normal_form(std::string_view type) {
  if (type == "NFC") return NormalForm::nfc;
  if (type == "NFD") return NormalForm::nfd;
  if (type == "NFKC") return NormalForm::nfkc;
  if (type == "NFKD") return NormalForm::nfkd;
  return std::nullopt;
}

}  // namespace

struct Normalizer::Step {
  enum class Kind { form, lowercase, strip, prepend, replace_text, replace_pattern };
  Kind kind;
  NormalForm form = NormalForm::nfc;
  bool left = false, right = false;  // strip
  std::string text, content;         // what is prepended or replaced, and by what
  std::optional<Regex> pattern;

  std::string apply(std::string_view in) const {
    switch (kind) {
      case Kind::form:
        return each_valid(in, [&](std::string_view run, std::string& out) { out += normalize(run, form); });
      case Kind::lowercase:
        return each_valid(in, lowercase);
      case Kind::strip:
        return std::string(frugal::strip(in, left, right));
      case Kind::prepend:
        return in.empty() ? std::string() : text + std::string(in);
      case Kind::replace_text:
        return replace_all(in);
      case Kind::replace_pattern:
        return each_valid(in, [&](std::string_view run, std::string& out) { replace_matches(run, out); });
    }
    return {};
  }

 private:
  std::string replace_all(std::string_view in) const {
    std::string out;
    for (size_t at = 0; at < in.size();) {
      const size_t found = std::min(in.find(text, at), in.size());
      out += in.substr(at, found - at);
      if (found < in.size()) out += content;
      at = found + text.size();
    }
    return out;
  }
  void replace_matches(std::string_view run, std::string& out) const {
    Regex::Matcher matcher(*pattern);
    matcher.begin(run);
    size_t done = 0;
    for (size_t at = 0; at <= run.size();) {
      const auto found = matcher.find(at);
      if (!found) break;
      out += run.substr(done, found->begin - done);
      out += content;
      done = found->end;
      at = found->end;
      if (found->end > found->begin) continue;
      if (at == run.size()) break;  // an empty match: the next search begins a character further on
      at += decode_utf8(run.data() + at, run.data() + run.size()).bytes;
    }
    out += run.substr(done);
  }
};

Normalizer::Normalizer(const Json& json, const std::string& where) {
  if (!json.is_null()) add(json, where);
}

void Normalizer::add(const Json& json, const std::string& where) {
  const JsonFields fields(json, where);
  const std::string type = fields.text("type");
  if (steps_.size() >= kMaxSteps) fail("{}: more than {} steps", where, kMaxSteps);
  Step step{.kind = Step::Kind::form};
  if (type == "Sequence") {
    fields.only({"type", "normalizers"});
    const Json& list = fields.list("normalizers");
    for (size_t i = 0; i < list.size(); ++i) add(list[i], fmt::format("{}.normalizers[{}]", where, i));
    return;
  }
  if (const auto form = normal_form(type)) {
    fields.only({"type"});
    step.form = *form;
  } else if (type == "Lowercase") {
    fields.only({"type"});
    step.kind = Step::Kind::lowercase;
  } else if (type == "Strip") {
    fields.only({"type", "strip_left", "strip_right"});
    step.kind = Step::Kind::strip;
    step.left = fields.flag("strip_left", true);
    step.right = fields.flag("strip_right", true);
  } else if (type == "Prepend") {
    fields.only({"type", "prepend"});
    step.kind = Step::Kind::prepend;
    step.text = fields.text("prepend");
  } else if (type == "Replace") {
    fields.only({"type", "pattern", "content"});
    const JsonFields pattern(fields.object("pattern"), where + ".pattern");
    pattern.only({"Regex", "String"});
    step.content = fields.text("content");
    if (pattern.has("String")) {
      step.kind = Step::Kind::replace_text;
      step.text = pattern.literal("String");
    } else {
      step.kind = Step::Kind::replace_pattern;
      step.pattern.emplace(pattern.text("Regex"));
    }
  } else {
    fail(
        "{}: normalizer '{}' is not supported (NFC, NFD, NFKC, NFKD, Lowercase, Strip, Prepend, Replace and "
        "Sequence are)",
        where, type);
  }
  steps_.push_back(std::make_shared<const Step>(std::move(step)));
}

std::string Normalizer::apply(std::string_view text) const {
  std::string out(text);
  const size_t most = 64 * text.size() + 4096;
  for (const auto& step : steps_) {
    out = step->apply(out);
    if (out.size() > most) fail("the normalizer makes {} bytes of a text of {}", out.size(), text.size());
  }
  return out;
}

}  // namespace frugal
