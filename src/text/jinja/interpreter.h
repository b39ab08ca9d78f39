// Runs a template. Everything it may spend is bounded: steps, bytes made, calls in calls; past a bound it
// throws Error.
#pragma once

#include <ctime>
#include <functional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "text/jinja/ast.h"

namespace frugal::jinja {

struct Limits {
  int64_t steps = 5'000'000;           // expressions and statements evaluated, items visited
  int64_t bytes = int64_t{256} << 20;  // of text and lists made, output included
  int calls = 30;                      // macros in macros
  int depth = 1000;                    // statements and expressions in each other, calls included
};

// Arguments of a call, filter or test.
struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> named;

  // The argument at `position` or called `name`; null when it was not given.
  const Value* find(size_t position, std::string_view name) const;
  const Value& required(size_t position, std::string_view name) const;
  // Error when there are more positional ones, or named ones not in the list.
  void accept(size_t most, std::initializer_list<std::string_view> names = {}) const;
};

class Interpreter {
 public:
  Interpreter(const Limits& limits, std::function<std::tm()> clock)
      : limits_(limits), clock_(std::move(clock)) {}

  void set_global(const std::string& name, Value value);
  Text run(const Body& body);
  // Spans of what run() gave that {% generation %} blocks wrote; those inside macros and captured text are
  // not known.
  const std::vector<TextSpan>& generated() const { return generated_; }

  // For filters, tests and methods.
  void spend(int64_t steps);
  void spend_bytes(size_t bytes);
  Value make(Text text);
  Value make(std::string text, bool input) { return make(marked(std::move(text), input)); }
  Value make_list(std::vector<Value> items, bool tuple = false);
  Value call(const Value& callee, const Arguments& arguments);
  Value apply_filter(const std::string& name, const Value& value, const Arguments& arguments);
  bool apply_test(const std::string& name, const Value& value, const Arguments& arguments);
  Value attribute(const Value& object, const std::string& name);  // object.name
  Value item(const Value& object, const Value& key);              // object[key]
  // What `for` sees: items, keys, characters. Error for what cannot be iterated.
  std::vector<Value> iterate(const Value& value);
  bool contains(const Value& container, const Value& value);
  Value add(const Value& a, const Value& b);
  const std::function<std::tm()>& clock() const { return clock_; }

 private:
  struct Depth {
    explicit Depth(Interpreter& run);
    ~Depth() { --run_.depth_; }
    Interpreter& run_;
  };
  enum class Flow { normal, break_loop, continue_loop };
  Flow generation(const Stmt& s);
  using Frame = std::unordered_map<std::string, Value>;

  Flow execute(const Body& body);
  Flow execute(const Stmt& s);
  Flow execute_here(const Stmt& s);
  Flow for_loop(const Stmt& s);
  Flow loop_over(const Stmt& s, std::vector<Value> items, int64_t depth);
  void assign(const Target& target, Value value);
  Text capture(const Body& body);
  void output(const Value& value);
  Value make_macro(const Macro& macro);
  Value call_macro(const Function& function, const Arguments& arguments);

  Value evaluate(const Expr& e);
  Value evaluate_here(const Expr& e);
  Arguments arguments_of(const Expr& e);
  Value run_filter(const Expr& e, const Value* input);
  Value binary(const Expr& e);
  Value arithmetic(const std::string& op, const Value& a, const Value& b);
  Value unary(const std::string& op, const Value& v);
  bool compare_chain(const Expr& e);
  Value slice(const Expr& e);
  Value dict_of(const Expr& e);
  Value lookup(const std::string& name) const;

  Limits limits_;
  std::function<std::tm()> clock_;
  std::vector<Frame> frames_{1};  // [0]: globals and what the template sets at its top
  size_t visible_from_ = 0;       // frames below this (but the first) belong to callers of the running macro
  Text* out_ = nullptr;
  Text* main_ = nullptr;  // what run() gives
  std::vector<TextSpan> generated_;
  int64_t steps_ = 0, bytes_ = 0;
  int calls_ = 0, depth_ = 0;
  struct Recursion {
    const Stmt* loop = nullptr;
    int64_t depth = 0;
  };
  std::vector<Recursion> loops_;
};

// Methods of strings, dicts and lists, and `loop`'s. Whether `object` has one called `name`.
bool has_method(const Value& object, const std::string& name);
Value call_method(Interpreter& run, const Value& self, const std::string& name, const Arguments& arguments);
// range, namespace, raise_exception, ...; whether there is one called `name`.
bool has_function(const std::string& name);
Value call_function(Interpreter& run, const std::string& name, const Arguments& arguments);

// A whole number; Error naming `what` for anything else.
int64_t whole(const Value& v, std::string_view what);
const Text& text_of(const Value& v, std::string_view what);
[[noreturn]] void fail_undefined(const Value& v);

}  // namespace frugal::jinja
