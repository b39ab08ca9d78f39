#include "text/jinja/parser.h"

#include <algorithm>
#include <initializer_list>

#include "core/error.h"

namespace frugal::jinja {
namespace {

class Parser : public ExprParser {
 public:
  using ExprParser::ExprParser;

  Body run() {
    Body body = statements({});
    if (peek().kind != TokenKind::end) unexpected();
    return body;
  }

 private:
  using Ends = std::initializer_list<std::string_view>;

  // Statements up to (not including) a block that begins with one of `ends`, whose "{%" is consumed.
  Body statements(Ends ends) {
    if (++nesting_ > kMaxBlocks) refuse(fmt::format("blocks nested deeper than {} levels", kMaxBlocks));
    Body body;
    while (peek().kind != TokenKind::end) {
      if (peek().kind == TokenKind::data) {
        auto s = statement(StmtKind::text);
        s->text = take().text;
        body.push_back(std::move(s));
      } else if (peek().kind == TokenKind::output_begin) {
        take();
        auto s = statement(StmtKind::output);
        s->exprs.push_back(tuple());
        end_tag(TokenKind::output_end);
        body.push_back(std::move(s));
      } else {
        take();  // "{%"
        if (std::any_of(ends.begin(), ends.end(), [&](std::string_view end) { return at_name(end); })) {
          --nesting_;
          return body;
        }
        body.push_back(block());
      }
    }
    if (ends.size() > 0) refuse(fmt::format("the template ends before '{}'", *std::prev(ends.end())));
    --nesting_;
    return body;
  }

  StmtPtr statement(StmtKind kind) const {
    auto s = std::make_unique<Stmt>();
    s->kind = kind;
    s->line = peek().line;
    return s;
  }
  void end_tag(TokenKind kind = TokenKind::block_end) {
    if (peek().kind != kind) unexpected();
    take();
  }
  // The rest of a block that has no other parts: body, then "end...".
  Body body_until(std::string_view end) {
    end_tag();
    Body body = statements({end});
    take();
    end_tag();
    return body;
  }

  StmtPtr block() {
    if (peek().kind != TokenKind::name) unexpected();
    const std::string name = take().text;
    if (name == "if") return if_block();
    if (name == "for") return for_block();
    if (name == "set") return set_block();
    if (name == "macro") return macro_block();
    if (name == "call") return call_block();
    if (name == "filter") return filter_block();
    if (name == "with") return with_block();
    if (name == "generation") {
      auto s = statement(StmtKind::generation);
      s->body = body_until("endgeneration");
      return s;
    }
    if (name == "break" || name == "continue") {
      if (loops_ == 0) refuse(fmt::format("'{}' outside a loop", name));
      auto s = statement(name == "break" ? StmtKind::break_loop : StmtKind::continue_loop);
      end_tag();
      return s;
    }
    refuse(fmt::format("the tag '{}' is not supported", name));
  }

  StmtPtr if_block() {
    auto s = statement(StmtKind::if_else);
    s->exprs.push_back(tuple(false));
    end_tag();
    s->body = statements({"elif", "else", "endif"});
    if (skip_name("elif")) {
      if (++nesting_ > kMaxBlocks) refuse(fmt::format("more than {} branches", kMaxBlocks));
      s->other.push_back(if_block());  // shares our endif
      --nesting_;
      return s;
    }
    if (skip_name("else")) {
      end_tag();
      s->other = statements({"endif"});
    }
    take();
    end_tag();
    return s;
  }

  Target target() {
    Target first = one_target();
    if (!at_op(",")) return first;
    Target list;
    list.parts.push_back(std::move(first));
    while (skip_op(",")) {
      if (at_op("=") || at_name("in") || at_op(")")) break;
      list.parts.push_back(one_target());
    }
    return list;
  }
  Target one_target() {
    if (skip_op("(")) {
      if (++nesting_ > kMaxBlocks) refuse("targets nested too deep");
      Target inside = target();
      --nesting_;
      expect_op(")");
      return inside;
    }
    Target t;
    t.name = expect_name();
    if (skip_op(".")) t.attribute = expect_name();
    return t;
  }

  StmtPtr for_block() {
    auto s = statement(StmtKind::for_loop);
    s->target = target();
    if (!skip_name("in")) refuse("expected 'in'");
    s->exprs.push_back(tuple(false));
    s->exprs.push_back(skip_name("if") ? expression() : nullptr);
    s->recursive = skip_name("recursive");
    end_tag();
    ++loops_;
    s->body = statements({"else", "endfor"});
    --loops_;
    if (skip_name("else")) {
      end_tag();
      s->other = statements({"endfor"});
    }
    take();
    end_tag();
    return s;
  }

  StmtPtr set_block() {
    auto s = statement(StmtKind::set);
    s->target = target();
    if (skip_op("=")) {
      s->exprs.push_back(tuple());
      end_tag();
      return s;
    }
    s->kind = StmtKind::set_block;
    s->exprs.push_back(filters(nullptr, false));
    s->body = macro_body("endset");
    return s;
  }

  void parameters(Macro& macro) {
    expect_op("(");
    while (!skip_op(")")) {
      macro.parameters.push_back(expect_name());
      if (skip_op("="))
        macro.defaults.push_back(expression());
      else if (!macro.defaults.empty())
        refuse("a parameter without default after one with");
      if (!at_op(")")) expect_op(",");
    }
  }
  // A body rendered to a string: a loop around it cannot be left from inside.
  Body macro_body(std::string_view end) {
    const int outer = std::exchange(loops_, 0);
    Body body = body_until(end);
    loops_ = outer;
    return body;
  }
  StmtPtr macro_block() {
    auto s = statement(StmtKind::macro);
    s->macro = std::make_unique<Macro>();
    s->macro->name = expect_name();
    parameters(*s->macro);
    s->macro->body = macro_body("endmacro");
    return s;
  }
  StmtPtr call_block() {
    auto s = statement(StmtKind::call_block);
    s->macro = std::make_unique<Macro>();
    s->macro->name = "caller";
    if (at_op("(")) parameters(*s->macro);
    s->exprs.push_back(expression());
    if (s->exprs[0]->kind != ExprKind::call) refuse("expected a call");
    s->macro->body = macro_body("endcall");
    return s;
  }
  StmtPtr filter_block() {
    auto s = statement(StmtKind::filter_block);
    s->exprs.push_back(filters(nullptr, true));
    s->body = macro_body("endfilter");
    return s;
  }
  StmtPtr with_block() {
    auto s = statement(StmtKind::with);
    while (peek().kind != TokenKind::block_end) {
      s->names.push_back(expect_name());
      expect_op("=");
      s->exprs.push_back(expression());
      if (peek().kind != TokenKind::block_end) expect_op(",");
    }
    s->body = body_until("endwith");
    return s;
  }

  static constexpr int kMaxBlocks = 100;
  int nesting_ = 0, loops_ = 0;
};

}  // namespace

Body parse(std::string_view source) {
  return Parser(lex(source)).run();
}

}  // namespace frugal::jinja
