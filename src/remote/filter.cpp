#include "remote/filter.h"

#include <algorithm>
#include <unordered_set>
#include <vector>

#include "text/final_answer.h"

namespace frugal::remote {
namespace {

bool is_space(char c) {
  return c == ' ' || (c >= '\t' && c <= '\r');
}

// Where each character of UTF-8 begins, and the end.
std::vector<size_t> characters(std::string_view text) {
  std::vector<size_t> begins;
  for (size_t i = 0; i < text.size(); ++i) {
    if ((static_cast<unsigned char>(text[i]) & 0xc0) != 0x80) begins.push_back(i);
  }
  begins.push_back(text.size());
  return begins;
}

}  // namespace

double repeated_share(std::string_view text) {
  constexpr size_t kPiece = 16;
  const std::vector<size_t> begins = characters(text);
  const size_t count = begins.size() - 1;
  if (count < 2 * kPiece) return 0;
  std::unordered_set<std::string_view> seen;
  const size_t pieces = count - kPiece + 1;
  for (size_t i = 0; i < pieces; ++i) seen.insert(text.substr(begins[i], begins[i + kPiece] - begins[i]));
  return 1 - static_cast<double>(seen.size()) / static_cast<double>(pieces);
}

std::string_view reason_to_drop(const Judged& answer, const FilterOptions& options) {
  if (options.finished && !answer.refusal.empty()) return "refused";
  if (options.finished && answer.finish_reason != "stop") return "unfinished";
  const bool blank = std::ranges::all_of(answer.content, is_space);
  if (blank) return "empty";
  const auto length = static_cast<int64_t>(characters(answer.content).size() - 1);
  if (length < options.min_chars) return "short";
  if (options.max_chars > 0 && length > options.max_chars) return "long";
  if (options.repetition < 1 && repeated_share(answer.content) > options.repetition) return "repetitive";
  if (answer.reference == nullptr || options.answer == "off") return {};
  if (options.answer == "numeric") {
    const std::string wanted = final_number(*answer.reference);
    return !wanted.empty() && final_number(answer.content) == wanted ? std::string_view() : "wrong";
  }
  return final_answer(answer.content) == final_answer(*answer.reference) ? std::string_view() : "wrong";
}

}  // namespace frugal::remote
