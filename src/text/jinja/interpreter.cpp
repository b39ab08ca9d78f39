#include "text/jinja/interpreter.h"

#include <algorithm>

#include "core/error.h"

namespace frugal::jinja {

const Value* Arguments::find(size_t position, std::string_view name) const {
  if (position < positional.size()) return &positional[position];
  for (const auto& [key, value] : named) {
    if (key == name) return &value;
  }
  return nullptr;
}
const Value& Arguments::required(size_t position, std::string_view name) const {
  const Value* value = find(position, name);
  if (!value) fail("the argument '{}' is missing", name);
  return *value;
}
void Arguments::accept(size_t most, std::initializer_list<std::string_view> names) const {
  if (positional.size() > most) fail("{} arguments given; at most {} are taken", positional.size(), most);
  for (const auto& [key, value] : named) {
    if (std::find(names.begin(), names.end(), key) == names.end()) fail("unknown argument '{}'", key);
  }
}

int64_t whole(const Value& v, std::string_view what) {
  if (!v.is_int() && !v.is_bool()) fail("{} must be a whole number, not '{}'", what, v.type_name());
  return v.integer();
}
const Text& text_of(const Value& v, std::string_view what) {
  if (!v.is_text()) fail("{} must be a string, not '{}'", what, v.type_name());
  return v.text();
}
void fail_undefined(const Value& v) {
  if (v.undefined().name.empty()) fail("an undefined value is used");
  fail("'{}' is undefined", v.undefined().name);
}

void Interpreter::set_global(const std::string& name, Value value) {
  frames_[0][name] = std::move(value);
}

void Interpreter::spend(int64_t steps) {
  steps_ += steps;
  if (steps_ > limits_.steps) fail("the template takes more than {} steps", limits_.steps);
}
void Interpreter::spend_bytes(size_t bytes) {
  bytes_ += static_cast<int64_t>(std::min<size_t>(bytes, INT64_MAX / 4));
  if (bytes_ > limits_.bytes) fail("the template makes more than {} bytes", limits_.bytes);
}
Value Interpreter::make(Text text) {
  spend_bytes(text.bytes.size() + text.input.size() * sizeof(TextSpan) + 64);
  return Value(std::move(text));
}
Value Interpreter::make_list(std::vector<Value> items, bool tuple) {
  spend_bytes(items.size() * sizeof(Value) + 64);
  return Value::list(std::move(items), tuple);
}

Text Interpreter::run(const Body& body) {
  Text text;
  out_ = main_ = &text;
  generated_.clear();
  execute(body);
  out_ = main_ = nullptr;
  return text;
}

Interpreter::Flow Interpreter::generation(const Stmt& s) {
  const size_t begin = out_->bytes.size();
  const Flow flow = execute(s.body);
  if (out_ == main_ && out_->bytes.size() > begin) generated_.push_back({begin, out_->bytes.size()});
  return flow;
}

Text Interpreter::capture(const Body& body) {
  Text text;
  Text* const outer = std::exchange(out_, &text);
  execute(body);
  out_ = outer;
  return text;
}

void Interpreter::output(const Value& value) {
  if (value.is_text()) {
    spend_bytes(value.text().bytes.size());
    append_text(*out_, value.text());
    return;
  }
  const Value text = printed(value);
  spend_bytes(text.text().bytes.size());
  append_text(*out_, text.text());
}

Interpreter::Flow Interpreter::execute(const Body& body) {
  for (const StmtPtr& s : body) {
    if (const Flow flow = execute(*s); flow != Flow::normal) return flow;
  }
  return Flow::normal;
}

Interpreter::Depth::Depth(Interpreter& run) : run_(run) {
  if (run.depth_ >= run.limits_.depth) fail("the template nests deeper than {} levels", run.limits_.depth);
  ++run.depth_;
}

Interpreter::Flow Interpreter::execute(const Stmt& s) {
  const Depth depth(*this);
  spend(1);
  try {
    return execute_here(s);
  } catch (const Error& error) {
    const std::string_view message = error.what();
    if (message.starts_with("line ")) throw;
    fail("line {}: {}", s.line, message);
  }
}

Interpreter::Flow Interpreter::execute_here(const Stmt& s) {
  switch (s.kind) {
    case StmtKind::text:
      spend_bytes(s.text.size());
      out_->bytes += s.text;
      break;
    case StmtKind::output:
      output(evaluate(*s.exprs[0]));
      break;
    case StmtKind::if_else:
      return execute(evaluate(*s.exprs[0]).truthy() ? s.body : s.other);
    case StmtKind::for_loop:
      return for_loop(s);
    case StmtKind::set:
      assign(s.target, evaluate(*s.exprs[0]));
      break;
    case StmtKind::set_block: {
      frames_.emplace_back();
      Value value = make(capture(s.body));
      frames_.pop_back();
      assign(s.target, s.exprs[0] ? run_filter(*s.exprs[0], &value) : value);
      break;
    }
    case StmtKind::macro:
      frames_.back()[s.macro->name] = make_macro(*s.macro);
      break;
    case StmtKind::call_block: {
      Arguments arguments = arguments_of(*s.exprs[0]);
      arguments.named.emplace_back("caller", make_macro(*s.macro));
      output(call(evaluate(*s.exprs[0]->kids[0]), arguments));
      break;
    }
    case StmtKind::filter_block: {
      frames_.emplace_back();
      const Value value = make(capture(s.body));
      frames_.pop_back();
      output(run_filter(*s.exprs[0], &value));
      break;
    }
    case StmtKind::with: {
      Frame frame;
      for (size_t i = 0; i < s.names.size(); ++i) frame[s.names[i]] = evaluate(*s.exprs[i]);
      frames_.push_back(std::move(frame));
      const Flow flow = execute(s.body);
      frames_.pop_back();
      return flow;
    }
    case StmtKind::block:
      return execute(s.body);
    case StmtKind::generation:
      return generation(s);
    case StmtKind::break_loop:
      return Flow::break_loop;
    case StmtKind::continue_loop:
      return Flow::continue_loop;
  }
  return Flow::normal;
}

void Interpreter::assign(const Target& target, Value value) {
  if (!target.attribute.empty()) {
    const Value object = lookup(target.name);
    if (!object.is_namespace())
      fail("'{}.{}' cannot be set: '{}' is no namespace", target.name, target.attribute, target.name);
    object.dict().set(Value(target.attribute), std::move(value));
  } else if (target.parts.empty()) {
    frames_.back()[target.name] = std::move(value);
  } else {
    std::vector<Value> items = iterate(value);
    if (items.size() != target.parts.size())
      fail("{} values for {} names", items.size(), target.parts.size());
    for (size_t i = 0; i < items.size(); ++i) assign(target.parts[i], std::move(items[i]));
  }
}

Interpreter::Flow Interpreter::for_loop(const Stmt& s) {
  return loop_over(s, iterate(evaluate(*s.exprs[0])), 0);
}

Interpreter::Flow Interpreter::loop_over(const Stmt& s, std::vector<Value> items, int64_t depth) {
  if (s.exprs[1]) {  // the filter sees the loop's names, but not `loop`
    std::vector<Value> kept;
    for (Value& item : items) {
      frames_.emplace_back();
      assign(s.target, item);
      if (evaluate(*s.exprs[1]).truthy()) kept.push_back(std::move(item));
      frames_.pop_back();
    }
    items = std::move(kept);
  }
  if (items.empty()) {
    frames_.emplace_back();
    const Flow flow = execute(s.other);
    frames_.pop_back();
    return flow;
  }
  if (s.recursive) loops_.push_back({&s, depth});
  auto loop = std::make_shared<Loop>();
  loop->length = static_cast<int64_t>(items.size());
  loop->depth0 = depth;
  for (size_t i = 0; i < items.size(); ++i) {
    spend(1);
    loop->index0 = static_cast<int64_t>(i);
    loop->previous = i > 0 ? items[i - 1] : Value(Undefined{"there is no previous item"});
    loop->next = i + 1 < items.size() ? items[i + 1] : Value(Undefined{"there is no next item"});
    frames_.emplace_back();
    frames_.back()["loop"] = Value(loop);
    assign(s.target, items[i]);
    const Flow flow = execute(s.body);
    frames_.pop_back();
    if (flow == Flow::break_loop) break;
  }
  loop->previous = loop->next = Value();
  if (s.recursive) loops_.pop_back();
  return Flow::normal;
}

// What a macro sees of the names around it is copied when it is defined, so that it may outlive them; names
// of the template's top are looked up when it runs, as Jinja does.
Value Interpreter::make_macro(const Macro& macro) {
  auto function = std::make_shared<Function>();
  function->name = macro.name;
  function->macro = &macro;
  for (size_t i = std::max<size_t>(1, visible_from_); i < frames_.size(); ++i) {
    for (const auto& [name, value] : frames_[i]) function->captured.emplace_back(name, value);
    spend_bytes(frames_[i].size() * 128);
  }
  return Value(std::shared_ptr<const Function>(std::move(function)));
}

Value Interpreter::call_macro(const Function& function, const Arguments& arguments) {
  if (++calls_ > limits_.calls) fail("macros call each other more than {} deep", limits_.calls);
  const Macro& macro = *function.macro;
  Frame frame;
  for (const auto& [name, value] : function.captured) frame[name] = value;
  frame[macro.name] = Value(std::make_shared<const Function>(function));
  const size_t count = macro.parameters.size();
  std::vector<Value> rest;
  auto named = std::make_shared<Dict>();
  for (size_t i = 0; i < arguments.positional.size(); ++i) {
    if (i < count)
      frame[macro.parameters[i]] = arguments.positional[i];
    else
      rest.push_back(arguments.positional[i]);
  }
  std::vector<bool> given(count);
  std::fill_n(given.begin(), std::min(count, arguments.positional.size()), true);
  for (const auto& [name, value] : arguments.named) {
    const auto at = std::find(macro.parameters.begin(), macro.parameters.end(), name);
    if (name == "caller")
      frame["caller"] = value;
    else if (at == macro.parameters.end())
      named->set(Value(name), value);
    else if (given[static_cast<size_t>(at - macro.parameters.begin())])
      fail("'{}' is given twice", name);
    else
      frame[name] = value, given[static_cast<size_t>(at - macro.parameters.begin())] = true;
  }
  frame["varargs"] = make_list(std::move(rest), true);
  frame["kwargs"] = Value(std::move(named));
  const size_t outer = std::exchange(visible_from_, frames_.size());
  frames_.push_back(std::move(frame));
  const size_t first_default = count - macro.defaults.size();
  for (size_t i = 0; i < count; ++i) {
    if (given[i]) continue;
    Value value = i >= first_default ? evaluate(*macro.defaults[i - first_default])
                                     : Value(Undefined{macro.parameters[i]});
    frames_.back()[macro.parameters[i]] = std::move(value);
  }
  Value result = make(capture(macro.body));
  frames_.pop_back();
  visible_from_ = outer;
  --calls_;
  return result;
}

Value Interpreter::call(const Value& callee, const Arguments& arguments) {
  spend(1);
  if (callee.is_undefined()) fail_undefined(callee);
  if (callee.is_loop()) {  // loop(items) in a recursive for
    if (loops_.empty() || arguments.positional.size() != 1)
      fail("only a recursive loop can be called, with a list");
    if (++calls_ > limits_.calls) fail("loops call themselves more than {} deep", limits_.calls);
    const Recursion recursion = loops_.back();
    Text text;
    Text* const outer = std::exchange(out_, &text);
    loop_over(*recursion.loop, iterate(arguments.positional[0]), recursion.depth + 1);
    out_ = outer;
    --calls_;
    return make(std::move(text));
  }
  if (!callee.is_function()) fail("'{}' object is not callable", callee.type_name());
  const Function& function = callee.function();
  if (function.macro) return call_macro(function, arguments);
  return function.bound ? call_method(*this, function.self, function.name, arguments)
                        : call_function(*this, function.name, arguments);
}

}  // namespace frugal::jinja
