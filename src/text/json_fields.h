// Reading JSON objects of outside files strictly: every access names its place, and unknown fields are
// refused. Include <nlohmann/json.hpp> before use.
#pragma once

#include <algorithm>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "core/error.h"
#include "core/json.h"

namespace frugal {

class JsonFields {
 public:
  JsonFields(const Json& json, std::string where) : json_(json), where_(std::move(where)) {
    if (!json.is_object()) fail("{}: expected an object, found {}", where_, json.type_name());
  }

  bool has(const std::string& key) const { return json_.contains(key) && !json_.at(key).is_null(); }

  const Json& required(const std::string& key) const {
    if (!json_.contains(key)) fail("{}: field '{}' is missing", where_, key);
    return json_.at(key);
  }
  std::string text(const std::string& key) const {
    const Json& value = required(key);
    if (!value.is_string()) fail("{}.{}: expected a string, found {}", where_, key, value.type_name());
    return value.get<std::string>();
  }
  // A text to look for, not empty, and of a size that bounds the time of looking.
  std::string literal(const std::string& key) const {
    constexpr size_t kLongest = 1024;
    std::string value = text(key);
    if (value.empty()) fail("{}: an empty pattern", where_);
    if (value.size() > kLongest) {
      fail("{}.{}: a pattern of {} bytes; at most {} are accepted", where_, key, value.size(), kLongest);
    }
    return value;
  }
  bool flag(const std::string& key, bool absent) const {
    if (!has(key)) return absent;
    const Json& value = json_.at(key);
    if (!value.is_boolean()) fail("{}.{}: expected true or false, found {}", where_, key, value.type_name());
    return value.get<bool>();
  }
  // A whole number in [0, limit).
  int64_t number(const std::string& key, int64_t limit) const {
    const Json& value = required(key);
    if (!value.is_number_unsigned() || value.get<uint64_t>() >= static_cast<uint64_t>(limit)) {
      fail("{}.{}: expected a whole number below {}, found {}", where_, key, limit, to_text(value));
    }
    return value.get<int64_t>();
  }
  const Json& object(const std::string& key) const {
    const Json& value = required(key);
    if (!value.is_object()) fail("{}.{}: expected an object, found {}", where_, key, value.type_name());
    return value;
  }
  const Json& list(const std::string& key) const {
    const Json& value = required(key);
    if (!value.is_array()) fail("{}.{}: expected a list, found {}", where_, key, value.type_name());
    return value;
  }
  // Error when there is a field that is not in the list.
  void only(std::initializer_list<std::string_view> known) const {
    for (const auto& [key, value] : json_.items()) {
      if (std::find(known.begin(), known.end(), key) == known.end())
        fail("{}: unknown field '{}'", where_, key);
    }
  }
  const std::string& where() const { return where_; }

 private:
  const Json& json_;
  std::string where_;
};

}  // namespace frugal
