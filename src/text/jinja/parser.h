// Templates to syntax trees: Jinja2's grammar without inheritance, imports and includes, which chat templates
// cannot use.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "text/jinja/ast.h"
#include "text/jinja/lexer.h"

namespace frugal::jinja {

// Error "line N: ..." for what cannot be parsed.
Body parse(std::string_view source);

// Expressions: the half of the parser in parse_expression.cpp.
class ExprParser {
 public:
  explicit ExprParser(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}

 protected:
  const Token& peek(size_t ahead = 0) const { return tokens_[std::min(at_ + ahead, tokens_.size() - 1)]; }
  const Token& take();
  bool at_op(std::string_view op) const { return peek().kind == TokenKind::op && peek().text == op; }
  bool at_name(std::string_view name) const { return peek().kind == TokenKind::name && peek().text == name; }
  bool skip_op(std::string_view op);
  bool skip_name(std::string_view name);
  void expect_op(std::string_view op);
  std::string expect_name();
  [[noreturn]] void refuse(const std::string& what) const;
  [[noreturn]] void unexpected() const;

  // An expression, or a tuple when commas follow. Without `conditional` an "if" ends it (a for's condition).
  ExprPtr tuple(bool conditional = true);
  ExprPtr expression(bool conditional = true);
  ExprPtr primary();
  ExprPtr call_arguments(ExprPtr callee);
  // "| a | b(1)" applied to `value`, which is null for a block.
  ExprPtr filters(ExprPtr value, bool bar_consumed);
  ExprPtr make(ExprKind kind, std::string name = {}) const;
  void add(Expr& parent, ExprPtr kid) const;  // keeps depth right and bounded

 private:
  ExprPtr logical_or();
  ExprPtr logical_and();
  ExprPtr logical_not();
  ExprPtr comparison();
  ExprPtr sum();
  ExprPtr concatenation();
  ExprPtr product();
  ExprPtr power();
  ExprPtr unary(bool with_filters);
  ExprPtr postfix(ExprPtr value);
  ExprPtr filters_and_tests(ExprPtr value);
  ExprPtr subscript(ExprPtr value);
  ExprPtr test(ExprPtr value);
  ExprPtr list_literal();
  ExprPtr dict_literal();
  ExprPtr binary(const std::string& op, ExprPtr left, ExprPtr right) const;
  void arguments(Expr& call);

  // Guards the parser's own recursion, which the depth of finished trees does not.
  struct Nesting {
    explicit Nesting(ExprParser& parser);
    ~Nesting() { --parser.nesting_; }
    ExprParser& parser;
  };

  std::vector<Token> tokens_;
  size_t at_ = 0;
  int nesting_ = 0;
};

}  // namespace frugal::jinja
