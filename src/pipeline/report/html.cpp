#include "pipeline/report/html.h"

#include "core/utf8.h"

namespace frugal {

std::string escape(std::string_view text) {
  std::string out;
  for (const char c : replace_invalid_utf8(text)) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        if (static_cast<unsigned char>(c) >= 0x20 || c == '\n' || c == '\t') out += c;
    }
  }
  return out;
}

std::string to_html(const HtmlTable& table) {
  std::string out = table.figures ? "<table class=\"figures\">" : "<table>";
  if (!table.head.empty()) {
    out += "<thead><tr>";
    for (const std::string& cell : table.head) out += "<th>" + escape(cell) + "</th>";
    out += "</tr></thead>";
  }
  out += "<tbody>";
  for (size_t i = 0; i < table.rows.size(); ++i) {
    out += table.total_row && i + 1 == table.rows.size() ? "<tr class=\"total\">" : "<tr>";
    bool first = true;
    for (const std::string& cell : table.rows[i]) {
      out += first ? "<th scope=\"row\">" + escape(cell) + "</th>" : "<td>" + escape(cell) + "</td>";
      first = false;
    }
    out += "</tr>";
  }
  return out + "</tbody></table>\n";
}

}  // namespace frugal
