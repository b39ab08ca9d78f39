// Cuts a template into tokens the way Jinja2 does with trim_blocks and lstrip_blocks on, which is how chat
// templates are rendered everywhere.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace frugal::jinja {

enum class TokenKind {
  data,
  output_begin,
  output_end,
  block_begin,
  block_end,
  name,
  text,
  integer,
  real,
  op,
  end
};

struct Token {
  TokenKind kind;
  std::string text;  // of `text`: with its escapes resolved
  int line;
};

// Error with the line for what is not a template.
std::vector<Token> lex(std::string_view source);

}  // namespace frugal::jinja
