// Pieces of HTML. Everything that comes from outside (names, samples, file paths) passes escape().
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace frugal {

// Text for an element or a quoted attribute: markup is escaped, invalid UTF-8 replaced, control characters
// dropped.
std::string escape(std::string_view text);

// A table of text cells, escaped here. Columns after the first are figures (right-aligned) when `figures`.
struct HtmlTable {
  std::vector<std::string> head;  // may be empty
  std::vector<std::vector<std::string>> rows;
  bool figures = true;
  bool total_row = false;  // the last row is a sum
};
std::string to_html(const HtmlTable& table);

}  // namespace frugal
