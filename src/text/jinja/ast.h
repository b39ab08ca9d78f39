// The syntax tree of a template. Trees are at most kMaxTree deep, so walking them recursively is safe.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "text/jinja/value.h"

namespace frugal::jinja {

inline constexpr int kMaxTree = 150;

enum class ExprKind {
  literal,      // value
  name,         // name
  attribute,    // kids[0].name
  item,         // kids[0][kids[1]]
  slice,        // kids[0][kids[1]:kids[2]:kids[3]], absent ones null
  call,         // kids[0](kids[1..], named)
  filter,       // kids[0] | name(kids[1..], named); kids[0] null in a filter block
  test,         // kids[0] is name(kids[1..])
  unary,        // name: "not", "-", "+"
  binary,       // name: "+", "and", "~", ...
  compare,      // kids[0] names[0] kids[1] names[1] kids[2] ...
  conditional,  // kids[0] if kids[1] else kids[2]; kids[2] may be null
  list,
  tuple,
  dict  // kids: key, value, key, value
};

struct Expr {
  ExprKind kind;
  int line = 0;
  int depth = 1;
  std::string name;
  Value value;
  std::vector<std::unique_ptr<Expr>> kids;
  std::vector<std::string> names;
  std::vector<std::pair<std::string, std::unique_ptr<Expr>>> named;
};
using ExprPtr = std::unique_ptr<Expr>;

struct Stmt;
using StmtPtr = std::unique_ptr<Stmt>;
using Body = std::vector<StmtPtr>;

struct Macro {
  std::string name;
  std::vector<std::string> parameters;
  std::vector<ExprPtr> defaults;  // of the last parameters
  Body body;
  bool uses_caller = false;
};

enum class StmtKind {
  text,          // text
  output,        // exprs[0]
  if_else,       // exprs[0], body, other
  for_loop,      // target, exprs[0] (iterable), exprs[1] (condition or null), body, other
  set,           // target = exprs[0]
  set_block,     // target = body, through exprs[0] (a chain of filters, or null)
  macro,         // macro
  call_block,    // exprs[0] is a call; macro is its caller()
  filter_block,  // exprs[0] (a chain of filters) over body
  with,          // targets names[i] = exprs[i], body
  block,         // body
  generation,    // body, its output marked as what the assistant says
  break_loop,
  continue_loop
};

// What `for` and `set` assign to: a name, an attribute of a namespace, or a list of targets.
struct Target {
  std::string name, attribute;
  std::vector<Target> parts;
};

struct Stmt {
  StmtKind kind;
  int line = 0;
  int depth = 1;
  std::string text;
  Target target;
  bool recursive = false;
  std::vector<std::string> names;
  std::vector<ExprPtr> exprs;
  Body body, other;
  std::unique_ptr<Macro> macro;
};

}  // namespace frugal::jinja
