#include <algorithm>
#include <charconv>

#include "core/error.h"
#include "text/jinja/parser.h"

namespace frugal::jinja {

constexpr int kMaxParse = 3 * kMaxTree;  // a parenthesis takes three levels of the parser

ExprParser::Nesting::Nesting(ExprParser& p) : parser(p) {
  if (++parser.nesting_ > kMaxParse) parser.refuse("expressions nested too deep");
}

const Token& ExprParser::take() {
  const Token& token = peek();
  if (at_ + 1 < tokens_.size()) ++at_;
  return token;
}
bool ExprParser::skip_op(std::string_view op) {
  const bool found = at_op(op);
  if (found) take();
  return found;
}
bool ExprParser::skip_name(std::string_view name) {
  const bool found = at_name(name);
  if (found) take();
  return found;
}
void ExprParser::expect_op(std::string_view op) {
  if (!skip_op(op)) refuse(fmt::format("expected '{}'", op));
}
std::string ExprParser::expect_name() {
  if (peek().kind != TokenKind::name) refuse("expected a name");
  return take().text;
}
void ExprParser::refuse(const std::string& what) const {
  fail("line {}: {}", peek().line, what);
}
void ExprParser::unexpected() const {
  switch (peek().kind) {
    case TokenKind::end:
      refuse("the template ends too early");
    case TokenKind::block_end:
    case TokenKind::output_end:
      refuse("the tag ends too early");
    default:
      refuse(fmt::format("unexpected '{}'", peek().text));
  }
}

ExprPtr ExprParser::make(ExprKind kind, std::string name) const {
  auto e = std::make_unique<Expr>();
  e->kind = kind;
  e->line = peek().line;
  e->name = std::move(name);
  return e;
}
void ExprParser::add(Expr& parent, ExprPtr kid) const {
  if (kid) parent.depth = std::max(parent.depth, kid->depth + 1);
  if (parent.depth > kMaxTree) refuse(fmt::format("an expression nested deeper than {} levels", kMaxTree));
  parent.kids.push_back(std::move(kid));
}
ExprPtr ExprParser::binary(const std::string& op, ExprPtr left, ExprPtr right) const {
  ExprPtr e = make(ExprKind::binary, op);
  add(*e, std::move(left));
  add(*e, std::move(right));
  return e;
}

ExprPtr ExprParser::tuple(bool conditional) {
  ExprPtr first = expression(conditional);
  if (!at_op(",")) return first;
  ExprPtr e = make(ExprKind::tuple);
  add(*e, std::move(first));
  while (skip_op(",")) {
    const bool ends =
        peek().kind == TokenKind::block_end || peek().kind == TokenKind::output_end || at_op(")");
    if (ends) break;
    add(*e, expression(conditional));
  }
  return e;
}

ExprPtr ExprParser::expression(bool conditional) {
  const Nesting nesting(*this);
  ExprPtr value = logical_or();
  while (conditional && skip_name("if")) {
    ExprPtr e = make(ExprKind::conditional);
    add(*e, std::move(value));
    add(*e, logical_or());
    add(*e, skip_name("else") ? expression() : nullptr);
    value = std::move(e);
  }
  return value;
}

ExprPtr ExprParser::logical_or() {
  ExprPtr left = logical_and();
  while (skip_name("or")) left = binary("or", std::move(left), logical_and());
  return left;
}
ExprPtr ExprParser::logical_and() {
  ExprPtr left = logical_not();
  while (skip_name("and")) left = binary("and", std::move(left), logical_not());
  return left;
}
ExprPtr ExprParser::logical_not() {
  if (!skip_name("not")) return comparison();
  const Nesting nesting(*this);
  ExprPtr e = make(ExprKind::unary, "not");
  add(*e, logical_not());
  return e;
}

ExprPtr ExprParser::comparison() {
  ExprPtr first = sum();
  ExprPtr e;
  while (true) {
    std::string op;
    static constexpr std::string_view kOps[] = {"==", "!=", "<", "<=", ">", ">="};
    if (peek().kind == TokenKind::op &&
        std::find(std::begin(kOps), std::end(kOps), peek().text) != std::end(kOps)) {
      op = take().text;
    } else if (skip_name("in")) {
      op = "in";
    } else if (at_name("not") && peek(1).kind == TokenKind::name && peek(1).text == "in") {
      take();
      take();
      op = "not in";
    } else {
      break;
    }
    if (!e) {
      e = make(ExprKind::compare);
      add(*e, std::move(first));
    }
    e->names.push_back(op);
    add(*e, sum());
  }
  return e ? std::move(e) : std::move(first);
}

ExprPtr ExprParser::sum() {
  ExprPtr left = concatenation();
  while (at_op("+") || at_op("-")) {
    const std::string op = take().text;
    left = binary(op, std::move(left), concatenation());
  }
  return left;
}
ExprPtr ExprParser::concatenation() {
  ExprPtr left = product();
  while (skip_op("~")) left = binary("~", std::move(left), product());
  return left;
}
ExprPtr ExprParser::product() {
  ExprPtr left = power();
  while (at_op("*") || at_op("/") || at_op("//") || at_op("%")) {
    const std::string op = take().text;
    left = binary(op, std::move(left), power());
  }
  return left;
}
ExprPtr ExprParser::power() {
  ExprPtr left = unary(true);
  while (skip_op("**")) left = binary("**", std::move(left), unary(true));
  return left;
}

ExprPtr ExprParser::unary(bool with_filters) {
  const Nesting nesting(*this);
  ExprPtr e;
  if (at_op("-") || at_op("+")) {
    e = make(ExprKind::unary, take().text);
    add(*e, unary(false));
  } else {
    e = primary();
  }
  e = postfix(std::move(e));
  return with_filters ? filters_and_tests(std::move(e)) : std::move(e);
}

ExprPtr ExprParser::primary() {
  const Nesting nesting(*this);
  ExprPtr e = make(ExprKind::literal);
  switch (peek().kind) {
    case TokenKind::name: {
      const std::string& name = peek().text;
      if (name == "true" || name == "True")
        e->value = Value(true);
      else if (name == "false" || name == "False")
        e->value = Value(false);
      else if (name == "none" || name == "None")
        e->value = Value(None{});
      else
        e = make(ExprKind::name, name);
      take();
      return e;
    }
    case TokenKind::text: {
      std::string text;
      while (peek().kind == TokenKind::text) text += take().text;
      e->value = Value(std::move(text));
      return e;
    }
    case TokenKind::integer: {
      const std::string& digits = peek().text;
      int64_t v = 0;
      const auto done = std::from_chars(digits.data(), digits.data() + digits.size(), v);
      if (done.ec != std::errc()) refuse("a number too large");
      e->value = Value(v);
      take();
      return e;
    }
    case TokenKind::real: {
      const std::string& digits = peek().text;
      double v = 0;
      std::from_chars(digits.data(), digits.data() + digits.size(), v);
      e->value = Value(v);
      take();
      return e;
    }
    case TokenKind::op:
      if (at_op("[")) return list_literal();
      if (at_op("{")) return dict_literal();
      if (skip_op("(")) {
        if (skip_op(")")) return make(ExprKind::tuple);
        ExprPtr inside = tuple();
        expect_op(")");
        return inside;
      }
      [[fallthrough]];
    default:
      unexpected();
  }
}

ExprPtr ExprParser::list_literal() {
  ExprPtr e = make(ExprKind::list);
  expect_op("[");
  while (!skip_op("]")) {
    add(*e, expression());
    if (!at_op("]")) expect_op(",");
  }
  return e;
}
ExprPtr ExprParser::dict_literal() {
  ExprPtr e = make(ExprKind::dict);
  expect_op("{");
  while (!skip_op("}")) {
    add(*e, expression());
    expect_op(":");
    add(*e, expression());
    if (!at_op("}")) expect_op(",");
  }
  return e;
}

ExprPtr ExprParser::postfix(ExprPtr value) {
  while (true) {
    if (skip_op(".")) {
      ExprPtr e = make(ExprKind::attribute);
      if (peek().kind == TokenKind::integer) {  // x.0 is x[0]
        e->kind = ExprKind::item;
        add(*e, std::move(value));
        add(*e, primary());
      } else {
        e->name = expect_name();
        add(*e, std::move(value));
      }
      value = std::move(e);
    } else if (at_op("[")) {
      value = subscript(std::move(value));
    } else if (at_op("(")) {
      value = call_arguments(std::move(value));
    } else {
      return value;
    }
  }
}

ExprPtr ExprParser::subscript(ExprPtr value) {
  ExprPtr e = make(ExprKind::item);
  expect_op("[");
  add(*e, std::move(value));
  const auto part = [&]() -> ExprPtr { return at_op(":") || at_op("]") ? nullptr : expression(); };
  ExprPtr first = part();
  if (!at_op(":")) {
    if (!first) unexpected();
    add(*e, std::move(first));
  } else {
    e->kind = ExprKind::slice;
    add(*e, std::move(first));
    take();
    add(*e, part());
    add(*e, skip_op(":") ? part() : nullptr);
  }
  expect_op("]");
  return e;
}

void ExprParser::arguments(Expr& call) {
  expect_op("(");
  while (!skip_op(")")) {
    if (at_op("*") || at_op("**")) refuse("unpacked arguments are not supported");
    if (peek().kind == TokenKind::name && peek(1).kind == TokenKind::op && peek(1).text == "=") {
      std::string name = take().text;
      take();
      ExprPtr value = expression();
      call.depth = std::max(call.depth, value->depth + 1);
      call.named.emplace_back(std::move(name), std::move(value));
    } else {
      if (!call.named.empty()) refuse("a positional argument after a named one");
      add(call, expression());
    }
    if (!at_op(")")) expect_op(",");
  }
}

ExprPtr ExprParser::call_arguments(ExprPtr callee) {
  ExprPtr e = make(ExprKind::call);
  add(*e, std::move(callee));
  arguments(*e);
  return e;
}

ExprPtr ExprParser::filters(ExprPtr value, bool bar_consumed) {
  while (bar_consumed || skip_op("|")) {
    bar_consumed = false;
    ExprPtr e = make(ExprKind::filter, expect_name());
    add(*e, std::move(value));
    if (at_op("(")) arguments(*e);
    value = std::move(e);
  }
  return value;
}

ExprPtr ExprParser::filters_and_tests(ExprPtr value) {
  while (true) {
    if (at_op("|"))
      value = filters(std::move(value), false);
    else if (skip_name("is"))
      value = test(std::move(value));
    else if (at_op("("))
      value = call_arguments(std::move(value));
    else
      return value;
  }
}

ExprPtr ExprParser::test(ExprPtr value) {
  const bool negated = skip_name("not");
  ExprPtr e = make(ExprKind::test, expect_name());
  add(*e, std::move(value));
  const TokenKind next = peek().kind;
  const bool literal = next == TokenKind::text || next == TokenKind::integer || next == TokenKind::real ||
                       at_op("[") || at_op("{");
  const bool name = next == TokenKind::name && !at_name("else") && !at_name("or") && !at_name("and") &&
                    !at_name("is") && !at_name("if") && !at_name("in") && !at_name("not");
  if (at_op("("))
    arguments(*e);
  else if (literal || name)
    add(*e, postfix(primary()));
  if (!negated) return e;
  ExprPtr n = make(ExprKind::unary, "not");
  add(*n, std::move(e));
  return n;
}

}  // namespace frugal::jinja
