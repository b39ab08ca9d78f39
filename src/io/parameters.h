// The parameters a model wants, and complaints about a file that holds others.
#pragma once

#include <algorithm>
#include <string>
#include <unordered_set>
#include <vector>

#include "core/error.h"
#include "core/files.h"
#include "models/model.h"

namespace frugal {

// What a model wants, by name.
class ParameterList : public ParamVisitor {
 public:
  struct Parameter {
    std::string name;
    Tensor* value;
    ParameterInfo info;
  };
  explicit ParameterList(Model& model) { model.visit(*this); }
  void parameter(const std::string& name, Tensor& value, const ParameterInfo& info) override {
    parameters.push_back({name, &value, info});
  }
  void alias(const std::string& name, const std::string&) override { aliases.insert(name); }
  void spare_modules(const std::string& prefix, int64_t first, const std::string& mark) override {
    spare = {prefix, first, mark};
  }

  std::vector<Parameter> parameters;
  std::unordered_set<std::string> aliases;
  struct Spare {
    std::string prefix;
    int64_t first = 0;
    std::string mark;
  };
  Spare spare;  // what files may hold beside that
};

// Collects complaints; a message shows the first few of each kind.
class Complaints {
 public:
  void missing(const std::string& text) { missing_.push_back(text); }
  void unexpected(const std::string& text) { unexpected_.push_back(text); }
  void different(const std::string& text) { different_.push_back(text); }
  // Error when there are any: the weights at `where` do not fit `description`.
  void raise(const fs::path& where, std::string_view description) const {
    std::string text;
    add(text, "missing", missing_);
    add(text, "unexpected", unexpected_);
    add(text, "different", different_);
    if (!text.empty()) fail("{}: the weights do not fit {}: {}", where.string(), description, text);
  }

 private:
  static void add(std::string& text, std::string_view kind, const std::vector<std::string>& list) {
    if (list.empty()) return;
    constexpr size_t kShown = 4;
    text += fmt::format("{}{} {}: ", text.empty() ? "" : "; ", list.size(), kind);
    for (size_t i = 0; i < std::min(kShown, list.size()); ++i) text += (i ? ", " : "") + list[i];
    if (list.size() > kShown) text += ", ...";
  }
  std::vector<std::string> missing_, unexpected_, different_;
};

}  // namespace frugal
