// Methods of values, by Python's names.
#include <algorithm>
#include <span>

#include "core/error.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/strings.h"
#include "text/unicode.h"

namespace frugal::jinja {
namespace {

using Method = Value (*)(Interpreter&, const Value& self, const Arguments&);
struct Named {
  std::string_view name;
  Method method;
};

const std::string* optional_text(const Arguments& a, size_t position, std::string_view name) {
  const Value* v = a.find(position, name);
  return v && !v->is_none() ? &text_of(*v, name).bytes : nullptr;
}
int64_t optional_whole(const Arguments& a, size_t position, std::string_view name, int64_t absent) {
  const Value* v = a.find(position, name);
  return v && !v->is_none() ? whole(*v, name) : absent;
}

template <Side side>
Value strip_method(Interpreter& run, const Value& self, const Arguments& a) {
  a.accept(1, {"chars"});
  return run.make(strip(self.text(), side, optional_text(a, 0, "chars")));
}
template <Case how>
Value case_method(Interpreter& run, const Value& self, const Arguments& a) {
  a.accept(0);
  return run.make(change_case(self.text(), how));
}
Value texts(Interpreter& run, std::vector<Text> parts, bool tuple = false) {
  std::vector<Value> items;
  for (Text& part : parts) items.push_back(run.make(std::move(part)));
  return run.make_list(std::move(items), tuple);
}
template <bool right>
Value split_method(Interpreter& run, const Value& self, const Arguments& a) {
  a.accept(2, {"sep", "maxsplit"});
  const std::string* separator = optional_text(a, 0, "sep");
  return texts(run, split(self.text(), separator, optional_whole(a, 1, "maxsplit", -1), right));
}
Value split_lines_method(Interpreter& run, const Value& self, const Arguments& a) {
  a.accept(1, {"keepends"});
  const Value* keep = a.find(0, "keepends");
  return texts(run, split_lines(self.text(), keep && keep->truthy()));
}
template <bool right>
Value partition_method(Interpreter& run, const Value& self, const Arguments& a) {
  a.accept(1);
  const Text& text = self.text();
  const std::string& separator = text_of(a.required(0, "sep"), "sep").bytes;
  if (separator.empty()) fail("empty separator");
  const size_t at = right ? text.bytes.rfind(separator) : text.bytes.find(separator);
  const size_t size = text.bytes.size();
  if (at == std::string::npos) {
    return right ? texts(run, {Text{}, Text{}, text}, true) : texts(run, {text, Text{}, Text{}}, true);
  }
  const size_t end = at + separator.size();
  return texts(run, {slice_text(text, 0, at), slice_text(text, at, end), slice_text(text, end, size)}, true);
}

template <bool suffix>
Value starts_method(Interpreter&, const Value& self, const Arguments& a) {
  a.accept(1);
  const auto matches = [&](const Value& v) {
    const std::string& part = text_of(v, "what a string is compared with").bytes;
    return suffix ? self.text().bytes.ends_with(part) : self.text().bytes.starts_with(part);
  };
  const Value& part = a.required(0, "prefix");
  if (!part.is_list()) return Value(matches(part));
  return Value(std::any_of(part.list().items.begin(), part.list().items.end(), matches));
}
template <bool suffix>
Value remove_method(Interpreter& run, const Value& self, const Arguments& a) {
  a.accept(1);
  const std::string& part = text_of(a.required(0, "prefix"), "prefix").bytes;
  const Text& text = self.text();
  if (suffix && text.bytes.ends_with(part))
    return run.make(slice_text(text, 0, text.bytes.size() - part.size()));
  if (!suffix && text.bytes.starts_with(part))
    return run.make(slice_text(text, part.size(), text.bytes.size()));
  return self;
}
Value replace_method(Interpreter& run, const Value& self, const Arguments& a) {
  a.accept(3, {"count"});
  const Text &from = text_of(a.required(0, "old"), "old"), &to = text_of(a.required(1, "new"), "new");
  // The bound on what is made, before making it: every byte of `from` found becomes one `to`.
  const size_t places = (self.text().bytes.size() + 1) / std::max<size_t>(1, from.bytes.size()) + 1;
  if (to.bytes.size() > from.bytes.size()) run.spend_bytes(places * (to.bytes.size() - from.bytes.size()));
  return run.make(replace(self.text(), from, to, optional_whole(a, 2, "count", -1)));
}
template <bool right, bool must>
Value find_method(Interpreter&, const Value& self, const Arguments& a) {
  a.accept(1);
  const std::string& bytes = self.text().bytes;
  const std::string& part = text_of(a.required(0, "sub"), "sub").bytes;
  const size_t at = right ? bytes.rfind(part) : bytes.find(part);
  if (at == std::string::npos && must) fail("substring not found");
  return Value(at == std::string::npos
                   ? int64_t{-1}
                   : static_cast<int64_t>(char_count(std::string_view(bytes).substr(0, at))));
}
Value count_method(Interpreter& run, const Value& self, const Arguments& a) {
  a.accept(1);
  const std::string& part = text_of(a.required(0, "sub"), "sub").bytes;
  if (part.empty()) return Value(static_cast<int64_t>(char_count(self.text().bytes)) + 1);
  run.spend(static_cast<int64_t>(self.text().bytes.size() / 64));
  int64_t count = 0;
  for (size_t at = self.text().bytes.find(part); at != std::string::npos;
       at = self.text().bytes.find(part, at + part.size())) {
    ++count;
  }
  return Value(count);
}
Value join_method(Interpreter& run, const Value& self, const Arguments& a) {
  a.accept(1);
  Text out;
  bool first = true;
  for (const Value& item : run.iterate(a.required(0, "iterable"))) {
    if (!first) append_text(out, self.text());
    first = false;
    append_text(out, text_of(item, "an item to join"));
    run.spend_bytes(self.text().bytes.size() + item.text().bytes.size());
  }
  return run.make(std::move(out));
}

// isdigit and its like: all characters fit and there is one. `cased` needs one that has a case.
template <bool (*fits)(uint32_t, CharClass)>
Value is_method(Interpreter&, const Value& self, const Arguments& a) {
  a.accept(0);
  const std::string& bytes = self.text().bytes;
  const std::vector<size_t> at = char_offsets(bytes);
  for (size_t i = 0; i + 1 < at.size(); ++i) {
    const uint32_t code = decode_utf8(bytes.data() + at[i], bytes.data() + bytes.size()).code;
    if (code == kInvalidChar || !fits(code, char_classes()[code])) return Value(false);
  }
  return Value(!bytes.empty());
}
bool fits_digit(uint32_t, CharClass kind) {
  return kind == CharClass::number;
}
bool fits_letter(uint32_t, CharClass kind) {
  return kind == CharClass::letter;
}
bool fits_either(uint32_t, CharClass kind) {
  return kind == CharClass::letter || kind == CharClass::number;
}
bool fits_space(uint32_t, CharClass kind) {
  return kind == CharClass::space;
}
template <bool upper>
Value is_case_method(Interpreter&, const Value& self, const Arguments& a) {
  a.accept(0);
  const Text& text = self.text();
  const std::string same = change_case(text, upper ? Case::upper : Case::lower).bytes;
  const std::string other = change_case(text, upper ? Case::lower : Case::upper).bytes;
  return Value(same == text.bytes && other != text.bytes);
}

// What the fields of str.format stand for: {} the next argument, {2} one by its number, {name}.
class FormatFields {
 public:
  explicit FormatFields(const Arguments& arguments) : arguments_(arguments) {}

  const Value& find(std::string_view field) {
    const bool digits = std::ranges::all_of(field, [](char c) { return c >= '0' && c <= '9'; });
    if (!digits) return named(field);
    if (field.size() > 6) fail("format: no argument {}", field);
    (field.empty() ? counted_ : numbered_) = true;
    if (counted_ && numbered_) fail("format: fields with and without numbers in one string");
    const size_t position = field.empty() ? next_++ : std::stoul(std::string(field));
    if (position >= arguments_.positional.size()) fail("format: no argument {}", position);
    return arguments_.positional[position];
  }

 private:
  const Value& named(std::string_view field) const {
    for (const auto& [name, value] : arguments_.named) {
      if (name == field) return value;
    }
    fail("format: no argument for '{{{}}}'; a field is {{}}, {{0}} or {{name}}, without format or attributes",
         field);
  }
  const Arguments& arguments_;
  size_t next_ = 0;
  bool counted_ = false, numbered_ = false;
};

Value format_method(Interpreter& run, const Value& self, const Arguments& a) {
  const Text& text = self.text();
  const std::string& bytes = text.bytes;
  FormatFields fields(a);
  Text out;
  for (size_t at = 0; at < bytes.size();) {
    run.spend(1 + static_cast<int64_t>(text.input.size()));  // slicing goes through the marks
    const size_t brace = std::min(bytes.find_first_of("{}", at), bytes.size());
    const bool doubled = brace + 1 < bytes.size() && bytes[brace + 1] == bytes[brace];
    append_text(out, slice_text(text, at, brace + (doubled ? 1 : 0)));
    at = brace + 2;
    if (doubled || brace == bytes.size()) continue;
    const size_t end = bytes[brace] == '{' ? bytes.find('}', brace) : std::string::npos;
    if (end == std::string::npos) fail("format: a single '{}'; a brace is written twice", bytes[brace]);
    const Value part = printed(fields.find(std::string_view(bytes).substr(brace + 1, end - brace - 1)));
    run.spend_bytes(part.text().bytes.size());
    append_text(out, part.text());
    at = end + 1;
  }
  return run.make(std::move(out));
}

constexpr Named kTextMethods[] = {{"strip", strip_method<Side::both>},
                                  {"lstrip", strip_method<Side::left>},
                                  {"rstrip", strip_method<Side::right>},
                                  {"upper", case_method<Case::upper>},
                                  {"lower", case_method<Case::lower>},
                                  {"title", case_method<Case::title>},
                                  {"capitalize", case_method<Case::capitalize>},
                                  {"split", split_method<false>},
                                  {"rsplit", split_method<true>},
                                  {"splitlines", split_lines_method},
                                  {"partition", partition_method<false>},
                                  {"rpartition", partition_method<true>},
                                  {"startswith", starts_method<false>},
                                  {"endswith", starts_method<true>},
                                  {"removeprefix", remove_method<false>},
                                  {"removesuffix", remove_method<true>},
                                  {"replace", replace_method},
                                  {"find", find_method<false, false>},
                                  {"rfind", find_method<true, false>},
                                  {"index", find_method<false, true>},
                                  {"rindex", find_method<true, true>},
                                  {"count", count_method},
                                  {"join", join_method},
                                  {"format", format_method},
                                  {"isdigit", is_method<fits_digit>},
                                  {"isnumeric", is_method<fits_digit>},
                                  {"isdecimal", is_method<fits_digit>},
                                  {"isalpha", is_method<fits_letter>},
                                  {"isalnum", is_method<fits_either>},
                                  {"isspace", is_method<fits_space>},
                                  {"isupper", is_case_method<true>},
                                  {"islower", is_case_method<false>}};

template <bool keys, bool values>
Value dict_items(Interpreter& run, const Value& self, const Arguments& a) {
  a.accept(0);
  std::vector<Value> items;
  for (const auto& [key, value] : self.dict().items) {
    if (keys && values)
      items.push_back(run.make_list({key, value}, true));
    else
      items.push_back(keys ? key : value);
  }
  run.spend(static_cast<int64_t>(items.size()));
  return run.make_list(std::move(items));
}
Value get_method(Interpreter&, const Value& self, const Arguments& a) {
  a.accept(2, {"default"});
  if (const Value* found = self.dict().find(a.required(0, "key"))) return *found;
  const Value* absent = a.find(1, "default");
  return absent ? *absent : Value(None{});
}
Value copy_method(Interpreter&, const Value& self, const Arguments& a) {
  a.accept(0);
  return self;  // nothing can change it
}
Value unsafe_method(Interpreter&, const Value&, const Arguments&) {
  fail("methods that change a value are not allowed in a chat template");
}
constexpr Named kDictMethods[] = {{"items", dict_items<true, true>},
                                  {"keys", dict_items<true, false>},
                                  {"values", dict_items<false, true>},
                                  {"get", get_method},
                                  {"copy", copy_method},
                                  {"pop", unsafe_method},
                                  {"popitem", unsafe_method},
                                  {"update", unsafe_method},
                                  {"clear", unsafe_method},
                                  {"setdefault", unsafe_method}};

Value list_index(Interpreter& run, const Value& self, const Arguments& a) {
  a.accept(1);
  const auto& items = self.list().items;
  run.spend(static_cast<int64_t>(items.size()));
  for (size_t i = 0; i < items.size(); ++i) {
    if (equal(items[i], a.required(0, "value"))) return Value(static_cast<int64_t>(i));
  }
  fail("the value is not in the list");
}
Value list_count(Interpreter& run, const Value& self, const Arguments& a) {
  a.accept(1);
  run.spend(static_cast<int64_t>(self.list().items.size()));
  const Value& wanted = a.required(0, "value");
  const auto same = [&](const Value& item) { return equal(item, wanted); };
  return Value(static_cast<int64_t>(std::count_if(self.list().items.begin(), self.list().items.end(), same)));
}
constexpr Named kListMethods[] = {
    {"index", list_index},      {"count", list_count},     {"copy", copy_method},   {"append", unsafe_method},
    {"extend", unsafe_method},  {"insert", unsafe_method}, {"pop", unsafe_method},  {"remove", unsafe_method},
    {"reverse", unsafe_method}, {"sort", unsafe_method},   {"clear", unsafe_method}};

Value cycle_method(Interpreter&, const Value& self, const Arguments& a) {
  if (a.positional.empty()) fail("no items for cycling given");
  return a.positional[static_cast<size_t>(self.loop().index0) % a.positional.size()];
}
Value changed_method(Interpreter&, const Value& self, const Arguments& a) {
  Loop& loop = self.loop();
  for (const Value& v : a.positional) {
    if (v.has_namespace()) fail("loop.changed cannot keep a namespace or a function");
  }
  const bool same = loop.ever_changed && loop.last_changed.size() == a.positional.size() &&
                    std::equal(a.positional.begin(), a.positional.end(), loop.last_changed.begin(), equal);
  loop.ever_changed = true;
  loop.last_changed = a.positional;
  return Value(!same);
}
constexpr Named kLoopMethods[] = {{"cycle", cycle_method}, {"changed", changed_method}};

const Method* find_in(std::span<const Named> methods, std::string_view name) {
  for (const Named& m : methods) {
    if (m.name == name) return &m.method;
  }
  return nullptr;
}
const Method* find_method_of(const Value& object, std::string_view name) {
  if (object.is_text()) return find_in(kTextMethods, name);
  if (object.is_dict() && !object.is_namespace()) return find_in(kDictMethods, name);
  if (object.is_list()) return find_in(kListMethods, name);
  return object.is_loop() ? find_in(kLoopMethods, name) : nullptr;
}

}  // namespace

bool has_method(const Value& object, const std::string& name) {
  return find_method_of(object, name) != nullptr;
}

Value call_method(Interpreter& run, const Value& self, const std::string& name, const Arguments& arguments) {
  const Method* method = find_method_of(self, name);
  CHECK(method);
  return (*method)(run, self, arguments);
}

}  // namespace frugal::jinja
