// Values of the template language, with Python's semantics where templates can see them. Strings remember
// which of their bytes came from the conversation (`input`), so that a rendered prompt knows what is data and
// what is control. Lists and dicts never change once made and nest at most kMaxNesting deep, so values form
// no cycles.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

#include "core/json.h"
#include "text/added_tokens.h"

namespace frugal::jinja {

inline constexpr int kMaxNesting = 100;

class Value;
struct Macro;

struct Text {
  std::string bytes;
  std::vector<TextSpan> input;  // sorted, disjoint, not empty
};
struct List {
  std::vector<Value> items;
  bool tuple = false;
  int depth = 1;
  bool has_namespace = false;  // somewhere inside
};
struct Dict;
struct Function;
struct Loop;
struct Undefined {
  std::string name;  // for the message when it is used
};
struct None {};

class Value {
 public:
  Value() : data_(Undefined{}) {}
  explicit Value(None) : data_(None{}) {}
  explicit Value(Undefined u) : data_(std::move(u)) {}
  explicit Value(bool v) : data_(v) {}
  explicit Value(int64_t v) : data_(v) {}
  explicit Value(double v) : data_(v) {}
  explicit Value(Text text) : data_(std::make_shared<const Text>(std::move(text))) {}
  explicit Value(std::string text) : Value(Text{std::move(text), {}}) {}
  explicit Value(const char* text) : Value(std::string(text)) {}
  explicit Value(std::shared_ptr<Dict> dict) : data_(std::move(dict)) {}
  explicit Value(std::shared_ptr<const Function> f) : data_(std::move(f)) {}
  explicit Value(std::shared_ptr<Loop> loop) : data_(std::move(loop)) {}
  // Error when the items nest too deep.
  static Value list(std::vector<Value> items, bool tuple = false);

  bool is_undefined() const { return holds<Undefined>(); }
  bool is_none() const { return holds<None>(); }
  bool is_bool() const { return holds<bool>(); }
  bool is_int() const { return holds<int64_t>(); }
  bool is_real() const { return holds<double>(); }
  bool is_number() const { return is_bool() || is_int() || is_real(); }
  bool is_text() const { return holds<std::shared_ptr<const Text>>(); }
  bool is_list() const { return holds<std::shared_ptr<const List>>(); }
  bool is_dict() const { return holds<std::shared_ptr<Dict>>(); }
  bool is_function() const { return holds<std::shared_ptr<const Function>>(); }
  bool is_loop() const { return holds<std::shared_ptr<Loop>>(); }
  bool is_namespace() const;

  const Undefined& undefined() const { return std::get<Undefined>(data_); }
  bool boolean() const { return std::get<bool>(data_); }
  int64_t integer() const {
    return is_bool() ? boolean() : std::get<int64_t>(data_);
  }  // bool counts as 0 or 1
  double real() const { return is_real() ? std::get<double>(data_) : static_cast<double>(integer()); }
  const Text& text() const { return *std::get<std::shared_ptr<const Text>>(data_); }
  const List& list() const { return *std::get<std::shared_ptr<const List>>(data_); }
  Dict& dict() const { return *std::get<std::shared_ptr<Dict>>(data_); }
  const Function& function() const { return *std::get<std::shared_ptr<const Function>>(data_); }
  Loop& loop() const { return *std::get<std::shared_ptr<Loop>>(data_); }

  bool truthy() const;
  int depth() const;  // 0 for what holds no values
  bool has_namespace() const;
  const char* type_name() const;  // Python's: "str", "dict", ...

 private:
  template <class T>
  bool holds() const {
    return std::holds_alternative<T>(data_);
  }
  std::variant<Undefined, None, bool, int64_t, double, std::shared_ptr<const Text>,
               std::shared_ptr<const List>, std::shared_ptr<Dict>, std::shared_ptr<const Function>,
               std::shared_ptr<Loop>>
      data_;
};

// Insertion-ordered, as in Python. Only namespaces are set after they were made.
struct Dict {
  std::vector<std::pair<Value, Value>> items;
  std::unordered_map<std::string, size_t> index;  // by key_of
  bool is_namespace = false;
  int depth = 1;
  bool has_namespace = false;

  void set(const Value& key,
           Value value);  // Error for keys that are no string, number or None, or too deep values
  const Value* find(const Value& key) const;
  const Value* find(std::string_view key) const;
};

// A builtin or method by name (self: what it is bound to), or a macro with what it saw where it was defined.
struct Function {
  std::string name;
  Value self;
  bool bound = false;
  const Macro* macro = nullptr;
  std::vector<std::pair<std::string, Value>> captured;
};

// What `loop` is inside a for.
struct Loop {
  int64_t index0 = 0, length = 0, depth0 = 0;
  Value previous, next;
  std::vector<Value> last_changed;
  bool ever_changed = false;
};

bool equal(const Value& a, const Value& b);
// Negative, zero, positive; Error when the two have no order.
int compare(const Value& a, const Value& b);
std::string str(const Value& v);  // Python's str(): what {{ v }} prints
std::string repr(const Value& v);
bool has_input(const Value& v);  // whether any text inside came from the conversation

Value from_json(const Json& json, bool input);

// Text with its marks.
Text join_text(const Text& a, const Text& b);
void append_text(Text& out, const Text& more);
Text slice_text(const Text& text, size_t begin, size_t end);  // bytes
Text marked(std::string bytes, bool input);                   // all of it or nothing
Value printed(const Value& v);                                // str(v) as a text that keeps its marks

}  // namespace frugal::jinja
