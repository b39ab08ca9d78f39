// Expressions.
#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "text/jinja/format.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/strings.h"

namespace frugal::jinja {
namespace {

// Python's slice.indices: clamps to the length, whatever the sign of the step.
struct Range {
  int64_t start, stop, step;
};
Range slice_range(int64_t length, const Value& start, const Value& stop, const Value& step) {
  Range r{0, 0, step.is_none() ? 1 : whole(step, "a slice's step")};
  if (r.step == 0) fail("slice step cannot be zero");
  const int64_t lower = r.step < 0 ? -1 : 0, upper = r.step < 0 ? length - 1 : length;
  const auto bound = [&](const Value& v, int64_t absent) {
    if (v.is_none()) return absent;
    const int64_t i = whole(v, "a slice's bound");
    return i < 0 ? std::max(i + length, lower) : std::min(i, upper);
  };
  r.start = bound(start, r.step < 0 ? upper : lower);
  r.stop = bound(stop, r.step < 0 ? lower : upper);
  return r;
}

[[noreturn]] void fail_overflow() {
  fail("a whole number grows past 64 bits");
}

int64_t power(int64_t base, int64_t exponent) {
  int64_t result = 1;
  for (; exponent > 0 && base != 0 && base != 1; --exponent) {
    if (base == -1) return exponent % 2 ? -result : result;
    if (__builtin_mul_overflow(result, base, &result)) fail_overflow();
  }
  return exponent > 0 ? base : result;
}

}  // namespace

Value Interpreter::lookup(const std::string& name) const {
  for (size_t i = frames_.size(); i-- > std::max<size_t>(1, visible_from_);) {
    if (const auto found = frames_[i].find(name); found != frames_[i].end()) return found->second;
  }
  if (const auto found = frames_[0].find(name); found != frames_[0].end()) return found->second;
  if (has_function(name))
    return Value(std::make_shared<const Function>(Function{name, Value(), false, nullptr, {}}));
  return Value(Undefined{name});
}

Value Interpreter::evaluate(const Expr& e) {
  const Depth depth(*this);
  spend(1);
  try {
    return evaluate_here(e);
  } catch (const Error& error) {
    const std::string_view message = error.what();
    if (message.starts_with("line ")) throw;
    fail("line {}: {}", e.line, message);
  }
}

Value Interpreter::evaluate_here(const Expr& e) {
  switch (e.kind) {
    case ExprKind::literal:
      return e.value;
    case ExprKind::name:
      return lookup(e.name);
    case ExprKind::attribute:
      return attribute(evaluate(*e.kids[0]), e.name);
    case ExprKind::item: {
      const Value object = evaluate(*e.kids[0]);
      return item(object, evaluate(*e.kids[1]));
    }
    case ExprKind::slice:
      return slice(e);
    case ExprKind::call: {
      const Value callee = evaluate(*e.kids[0]);
      return call(callee, arguments_of(e));
    }
    case ExprKind::filter:
      return run_filter(e, nullptr);
    case ExprKind::test: {
      const Value value = evaluate(*e.kids[0]);
      return Value(apply_test(e.name, value, arguments_of(e)));
    }
    case ExprKind::unary:
      return unary(e.name, evaluate(*e.kids[0]));
    case ExprKind::binary:
      return binary(e);
    case ExprKind::compare:
      return Value(compare_chain(e));
    case ExprKind::conditional:
      if (evaluate(*e.kids[1]).truthy()) return evaluate(*e.kids[0]);
      return e.kids[2] ? evaluate(*e.kids[2]) : Value(Undefined{"the missing else of an inline if"});
    case ExprKind::list:
    case ExprKind::tuple: {
      std::vector<Value> items;
      for (const ExprPtr& kid : e.kids) items.push_back(evaluate(*kid));
      return make_list(std::move(items), e.kind == ExprKind::tuple);
    }
    case ExprKind::dict:
      return dict_of(e);
  }
  return Value();
}

// kids[0] is what is called, filtered or tested.
Arguments Interpreter::arguments_of(const Expr& e) {
  Arguments arguments;
  for (size_t i = 1; i < e.kids.size(); ++i) arguments.positional.push_back(evaluate(*e.kids[i]));
  for (const auto& [name, value] : e.named) arguments.named.emplace_back(name, evaluate(*value));
  return arguments;
}

// A filter block has no value at the bottom of its chain but `input`.
Value Interpreter::run_filter(const Expr& e, const Value* input) {
  Value value;
  if (!e.kids[0])
    value = *input;
  else if (input && e.kids[0]->kind == ExprKind::filter)
    value = run_filter(*e.kids[0], input);
  else
    value = evaluate(*e.kids[0]);
  return apply_filter(e.name, value, arguments_of(e));
}

Value Interpreter::dict_of(const Expr& e) {
  auto dict = std::make_shared<Dict>();
  for (size_t i = 0; i + 1 < e.kids.size(); i += 2) {
    const Value key = evaluate(*e.kids[i]);
    dict->set(key, evaluate(*e.kids[i + 1]));
  }
  spend_bytes(e.kids.size() * 64);
  return Value(std::move(dict));
}

Value Interpreter::slice(const Expr& e) {
  const Value object = evaluate(*e.kids[0]);
  const auto part = [&](size_t i) { return e.kids[i] ? evaluate(*e.kids[i]) : Value(None{}); };
  const Value start = part(1), stop = part(2), step = part(3);
  if (object.is_undefined()) fail_undefined(object);
  if (object.is_text()) {
    const std::vector<size_t> at = char_offsets(object.text().bytes);
    spend_bytes(at.size() * sizeof(size_t));
    const Range r = slice_range(static_cast<int64_t>(at.size()) - 1, start, stop, step);
    if (r.step == 1) {
      const auto from = static_cast<size_t>(r.start), to = static_cast<size_t>(std::max(r.start, r.stop));
      return make(slice_text(object.text(), at[from], at[to]));
    }
    Text out;
    for (int64_t i = r.start; r.step > 0 ? i < r.stop : i > r.stop; i += r.step) {
      append_text(out, slice_text(object.text(), at[static_cast<size_t>(i)], at[static_cast<size_t>(i) + 1]));
      spend(1);
    }
    return make(std::move(out));
  }
  if (!object.is_list()) fail("'{}' object cannot be sliced", object.type_name());
  const auto& items = object.list().items;
  const Range r = slice_range(static_cast<int64_t>(items.size()), start, stop, step);
  std::vector<Value> out;
  for (int64_t i = r.start; r.step > 0 ? i < r.stop : i > r.stop; i += r.step)
    out.push_back(items[static_cast<size_t>(i)]);
  return make_list(std::move(out), object.list().tuple);
}

Value Interpreter::unary(const std::string& op, const Value& v) {
  if (op == "not") return Value(!v.truthy());
  if (v.is_undefined()) fail_undefined(v);
  if (!v.is_number()) fail("bad operand type for unary {}: '{}'", op, v.type_name());
  if (v.is_real()) return Value(op == "-" ? -v.real() : v.real());
  if (op == "+") return Value(v.integer());
  if (v.integer() == INT64_MIN) fail_overflow();
  return Value(-v.integer());
}

Value Interpreter::binary(const Expr& e) {
  if (e.name == "and" || e.name == "or") {
    Value left = evaluate(*e.kids[0]);
    return left.truthy() == (e.name == "and") ? evaluate(*e.kids[1]) : left;
  }
  const Value a = evaluate(*e.kids[0]), b = evaluate(*e.kids[1]);
  if (e.name == "~") return make(join_text(printed(a).text(), printed(b).text()));
  if (a.is_undefined()) fail_undefined(a);
  if (b.is_undefined()) fail_undefined(b);
  if (e.name == "+") return add(a, b);
  if (e.name == "%" && a.is_text()) {
    const std::vector<Value> values = b.is_list() && b.list().tuple ? b.list().items : std::vector<Value>{b};
    return make(format_percent(a.text().bytes, values), has_input(a) || has_input(b));
  }
  if (e.name == "*" && (a.is_text() || a.is_list() || b.is_text() || b.is_list())) {
    const bool left = a.is_text() || a.is_list();
    const Value& what = left ? a : b;
    const int64_t times = std::max<int64_t>(0, whole(left ? b : a, "a repeat count"));
    const size_t size =
        what.is_text() ? what.text().bytes.size() + 1 : (what.list().items.size() + 1) * sizeof(Value);
    if (static_cast<double>(size) * static_cast<double>(times) > static_cast<double>(limits_.bytes)) {
      fail("the template makes more than {} bytes", limits_.bytes);
    }
    spend_bytes(size * static_cast<size_t>(times));
    Text text;
    std::vector<Value> items;
    for (int64_t i = 0; i < times; ++i) {
      if (what.is_text())
        append_text(text, what.text());
      else
        items.insert(items.end(), what.list().items.begin(), what.list().items.end());
    }
    return what.is_text() ? Value(std::move(text)) : Value::list(std::move(items), what.list().tuple);
  }
  return arithmetic(e.name, a, b);
}

Value Interpreter::add(const Value& a, const Value& b) {
  if (a.is_text() && b.is_text()) return make(join_text(a.text(), b.text()));
  if (a.is_list() && b.is_list() && a.list().tuple == b.list().tuple) {
    std::vector<Value> items = a.list().items;
    items.insert(items.end(), b.list().items.begin(), b.list().items.end());
    return make_list(std::move(items), a.list().tuple);
  }
  return arithmetic("+", a, b);
}

Value Interpreter::arithmetic(const std::string& op, const Value& a, const Value& b) {
  if (!a.is_number() || !b.is_number()) {
    fail("unsupported operand types for {}: '{}' and '{}'", op, a.type_name(), b.type_name());
  }
  const bool divides = op == "/" || op == "//" || op == "%";
  if (divides && b.real() == 0) fail("division by zero");
  const bool negative_power = op == "**" && !b.is_real() && b.integer() < 0;
  if (a.is_real() || b.is_real() || op == "/" || negative_power) {
    const double x = a.real(), y = b.real();
    if (op == "+") return Value(x + y);
    if (op == "-") return Value(x - y);
    if (op == "*") return Value(x * y);
    if (op == "/") return Value(x / y);
    if (op == "//") return Value(std::floor(x / y));
    if (op == "**") return Value(std::pow(x, y));
    const double rest = std::fmod(x, y);
    return Value(rest != 0 && (rest < 0) != (y < 0) ? rest + y : rest);
  }
  const int64_t x = a.integer(), y = b.integer();
  if (op == "**") return Value(power(x, y));
  if (!divides) {
    int64_t result = 0;
    const bool overflow = op == "+"   ? __builtin_add_overflow(x, y, &result)
                          : op == "-" ? __builtin_sub_overflow(x, y, &result)
                                      : __builtin_mul_overflow(x, y, &result);
    if (overflow) fail_overflow();
    return Value(result);
  }
  if (y == -1 && op == "%") return Value(int64_t{0});
  if (y == -1) return unary("-", a);
  const int64_t quotient = x / y - (x % y != 0 && (x < 0) != (y < 0));
  return Value(op == "//" ? quotient : x - quotient * y);
}

bool Interpreter::compare_chain(const Expr& e) {
  Value left = evaluate(*e.kids[0]);
  for (size_t i = 0; i < e.names.size(); ++i) {
    const std::string& op = e.names[i];
    Value right = evaluate(*e.kids[i + 1]);
    bool holds = false;
    if (op == "==")
      holds = equal(left, right);
    else if (op == "!=")
      holds = !equal(left, right);
    else if (op == "in")
      holds = contains(right, left);
    else if (op == "not in")
      holds = !contains(right, left);
    else {
      if (left.is_undefined()) fail_undefined(left);
      if (right.is_undefined()) fail_undefined(right);
      const int order = compare(left, right);
      holds = op == "<" ? order < 0 : op == "<=" ? order <= 0 : op == ">" ? order > 0 : order >= 0;
    }
    if (!holds) return false;
    left = std::move(right);
  }
  return true;
}

bool Interpreter::contains(const Value& container, const Value& value) {
  if (container.is_undefined()) return false;
  if (container.is_text()) {
    return container.text().bytes.find(text_of(value, "what is looked for in a string").bytes) !=
           std::string::npos;
  }
  if (container.is_dict() && !container.is_namespace()) return container.dict().find(value) != nullptr;
  if (!container.is_list()) fail("argument of type '{}' is not iterable", container.type_name());
  spend(static_cast<int64_t>(container.list().items.size()));
  const auto same = [&](const Value& item) { return equal(item, value); };
  return std::any_of(container.list().items.begin(), container.list().items.end(), same);
}

std::vector<Value> Interpreter::iterate(const Value& value) {
  std::vector<Value> items;
  if (value.is_undefined()) return items;
  if (value.is_list()) {
    items = value.list().items;
  } else if (value.is_dict() && !value.is_namespace()) {
    for (const auto& item : value.dict().items) items.push_back(item.first);
  } else if (value.is_text()) {
    const std::vector<size_t> at = char_offsets(value.text().bytes);
    spend_bytes(at.size() * 128);
    for (size_t i = 0; i + 1 < at.size(); ++i) items.emplace_back(slice_text(value.text(), at[i], at[i + 1]));
  } else {
    fail("'{}' object is not iterable", value.type_name());
  }
  spend(static_cast<int64_t>(items.size()));
  spend_bytes(items.size() * sizeof(Value));
  return items;
}

Value Interpreter::attribute(const Value& object, const std::string& name) {
  if (object.is_undefined()) fail_undefined(object);
  if (object.is_loop()) {
    const Loop& loop = object.loop();
    if (name == "index") return Value(loop.index0 + 1);
    if (name == "index0") return Value(loop.index0);
    if (name == "revindex") return Value(loop.length - loop.index0);
    if (name == "revindex0") return Value(loop.length - loop.index0 - 1);
    if (name == "first") return Value(loop.index0 == 0);
    if (name == "last") return Value(loop.index0 + 1 == loop.length);
    if (name == "length") return Value(loop.length);
    if (name == "depth") return Value(loop.depth0 + 1);
    if (name == "depth0") return Value(loop.depth0);
    if (name == "previtem") return loop.previous;
    if (name == "nextitem") return loop.next;
  }
  if (has_method(object, name)) {
    return Value(std::make_shared<const Function>(Function{name, object, true, nullptr, {}}));
  }
  if (object.is_dict()) {
    if (const Value* found = object.dict().find(name)) return *found;
  }
  if (object.is_function() && object.function().macro && name == "name") return Value(object.function().name);
  return Value(Undefined{fmt::format("{} object has no attribute {}", object.type_name(), name)});
}

Value Interpreter::item(const Value& object, const Value& key) {
  if (object.is_undefined()) fail_undefined(object);
  if (object.is_dict() && !object.is_namespace()) {
    const bool hashable = !key.is_dict() && !(key.is_list() && !key.list().tuple) && !key.is_undefined();
    const Value* found = hashable ? object.dict().find(key) : nullptr;
    if (found) return *found;
  } else if (object.is_list() && (key.is_int() || key.is_bool())) {
    const auto size = static_cast<int64_t>(object.list().items.size());
    const int64_t i = key.integer() < 0 ? key.integer() + size : key.integer();
    if (i >= 0 && i < size) return object.list().items[static_cast<size_t>(i)];
    return Value(Undefined{fmt::format("{} object has no element {}", object.type_name(), key.integer())});
  } else if (object.is_text() && (key.is_int() || key.is_bool())) {
    const std::vector<size_t> at = char_offsets(object.text().bytes);
    spend_bytes(at.size() * sizeof(size_t));
    const auto size = static_cast<int64_t>(at.size()) - 1;
    const int64_t i = key.integer() < 0 ? key.integer() + size : key.integer();
    if (i >= 0 && i < size) {
      return make(slice_text(object.text(), at[static_cast<size_t>(i)], at[static_cast<size_t>(i) + 1]));
    }
    return Value(Undefined{fmt::format("str object has no element {}", key.integer())});
  }
  if (key.is_text()) {
    if (object.is_namespace() || !object.is_dict() || has_method(object, key.text().bytes)) {
      return attribute(object, key.text().bytes);
    }
  }
  return Value(Undefined{fmt::format("{} object has no element {}", object.type_name(), repr(key))});
}

}  // namespace frugal::jinja
