#include "pipeline/recipe_text.h"

#include <map>

#include "core/error.h"
#include "core/utf8.h"
#include "pipeline/run_directory.h"

namespace frugal {
namespace {

// Which keys take text, so that `--set output=runs/a` needs no quotes.
class TextKeys : public FieldVisitor {
 public:
  std::map<std::string, bool, std::less<>> keys;  // true: a list
  void field(std::string_view, bool&, std::string_view) override {}
  void field(std::string_view, int64_t&, std::string_view) override {}
  void field(std::string_view, double&, std::string_view) override {}
  void field(std::string_view name, std::string&, std::string_view) override {
    keys[path_ + std::string(name)] = false;
  }
  void field(std::string_view name, std::vector<std::string>&, std::string_view) override {
    keys[path_ + std::string(name)] = true;
  }
  void field(std::string_view, std::vector<int64_t>&, std::string_view) override {}
  void field(std::string_view, std::vector<double>&, std::string_view) override {}

 protected:
  bool begin(std::string_view name, std::string_view) override {
    lengths_.push_back(path_.size());
    path_ += std::string(name) + ".";
    return true;
  }
  void end() override {
    path_.resize(lengths_.back());
    lengths_.pop_back();
  }
  Presence optional_field(std::string_view, bool) override { return Presence::present; }

 private:
  std::string path_;
  std::vector<size_t> lengths_;
};

Json value_of_set(const std::string& key, const std::string& text, const TextKeys& text_keys) {
  const auto known = text_keys.keys.find(key);
  const std::string where = "--set " + key;
  if (known == text_keys.keys.end()) return parse_toml_value(text, where);
  const bool quoted = text.starts_with('"') || text.starts_with('\'');
  const bool list = known->second && text.starts_with('[');
  return quoted || list ? parse_toml_value(text, where) : Json(text);
}

}  // namespace

std::vector<std::string> apply_set(const std::vector<std::string>& set, const VisitRecipe& visit,
                                   Json& values) {
  TextKeys text_keys;
  visit(text_keys);
  std::vector<std::string> keys;
  for (const std::string& item : set) {
    if (const size_t sound = valid_utf8_prefix(item); sound != item.size()) {
      fail_usage("--set {}: byte {} is not UTF-8", item.substr(0, sound), sound + 1);
    }
    const size_t equals = item.find('=');
    if (equals == std::string::npos || equals == 0) {
      fail_usage("--set {}: expected key=value, as in --set budget.minutes=20", item);
    }
    const std::string key = item.substr(0, equals);
    Json* table = &values;
    for (size_t begin = 0;;) {
      const size_t dot = key.find('.', begin);
      const std::string part = key.substr(begin, dot - begin);
      if (part.empty()) fail_usage("--set {}: an empty part in '{}'", item, key);
      if (dot == std::string::npos) {
        (*table)[part] = value_of_set(key, item.substr(equals + 1), text_keys);
        break;
      }
      table = &(*table)[part];
      if (table->is_null()) *table = Json::object();
      if (!table->is_object()) fail_usage("--set {}: '{}' is not a table", item, key.substr(0, dot));
      begin = dot + 1;
    }
    keys.push_back(key);
  }
  return keys;
}

Locate locate_in(const TomlDocument& document, const std::string& name,
                 const std::vector<std::string>& set_keys) {
  return [lines = document.lines, name, set_keys](std::string_view key) {
    for (const std::string& set_key : set_keys) {
      if (key == set_key || set_key.starts_with(std::string(key) + ".")) return "--set " + set_key;
    }
    const auto line = lines.find(std::string(key));
    return line == lines.end() ? name : fmt::format("{}:{}", name, line->second);
  };
}

void check_located(const std::function<void()>& check, const Json& values, const Locate& where,
                   const std::string& name) {
  try {
    check();
  } catch (const UsageError& error) {
    const std::string message = error.what();
    std::string best;
    for (const auto& [key, value] : flatten(values)) {
      if (message.starts_with(key) && key.size() > best.size()) best = key;
    }
    for (const auto& [key, value] : values.items()) {
      if (best.empty() && message.starts_with(key)) best = key;
    }
    throw UsageError(fmt::format("{}: {}", best.empty() ? name : where(best), message));
  }
}

}  // namespace frugal
