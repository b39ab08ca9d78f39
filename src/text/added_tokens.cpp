#include "text/added_tokens.h"

#include <algorithm>

#include "core/error.h"
#include "text/unicode.h"

namespace frugal {
namespace {

// The character before or after a token; other when there is none or the bytes are not valid.
CharClass class_after(std::string_view text) {
  if (text.empty()) return CharClass::other;
  const DecodedChar c = decode_utf8(text.data(), text.data() + text.size());
  return c.code == kInvalidChar ? CharClass::other : char_classes()[c.code];
}
size_t last_char_bytes(std::string_view text) {
  for (size_t back = 1; back <= 4 && back <= text.size(); ++back) {
    const char* p = text.data() + text.size() - back;
    const DecodedChar c = decode_utf8(p, text.data() + text.size());
    if (c.code != kInvalidChar && c.bytes == back) return back;
  }
  return 0;
}
CharClass class_before(std::string_view text) {
  return class_after(text.substr(text.size() - last_char_bytes(text)));
}
bool is_word(CharClass kind, char ascii) {
  return kind == CharClass::letter || kind == CharClass::number || kind == CharClass::mark || ascii == '_';
}
bool ends_with_word(std::string_view text) {
  return !text.empty() && is_word(class_before(text), text.back());
}
bool starts_with_word(std::string_view text) {
  return !text.empty() && is_word(class_after(text), text.front());
}

size_t trailing_space(std::string_view text) {
  const size_t all = text.size();
  while (!text.empty() && class_before(text) == CharClass::space) text.remove_suffix(last_char_bytes(text));
  return all - text.size();
}
size_t leading_space(std::string_view text) {
  size_t bytes = 0;
  while (class_after(text.substr(bytes)) == CharClass::space) {
    bytes += decode_utf8(text.data() + bytes, text.data() + text.size()).bytes;
  }
  return bytes;
}

bool overlaps(std::span<const TextSpan> sorted, size_t begin, size_t end) {
  const auto after = std::upper_bound(sorted.begin(), sorted.end(), begin,
                                      [](size_t at, const TextSpan& span) { return at < span.end; });
  return after != sorted.end() && after->begin < end;
}

}  // namespace

void AddedTokens::Trie::add(std::string_view content, int32_t index) {
  first[static_cast<unsigned char>(content[0])] = true;
  uint32_t node = 0;
  for (const char c : content) {
    const uint64_t edge = (uint64_t{node} << 8) | static_cast<unsigned char>(c);
    const auto [found, inserted] = children.try_emplace(edge, static_cast<uint32_t>(token.size()));
    if (inserted) token.push_back(-1);
    node = found->second;
  }
  token[node] = index;
}

int32_t AddedTokens::Trie::find(std::string_view text, size_t& length) const {
  int32_t best = -1;
  uint32_t node = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto child = children.find((uint64_t{node} << 8) | static_cast<unsigned char>(text[i]));
    if (child == children.end()) break;
    node = child->second;
    if (token[node] >= 0) {
      best = token[node];
      length = i + 1;
    }
  }
  return best;
}

AddedTokens::AddedTokens(std::vector<AddedToken> tokens, const Normalizer& normalizer)
    : tokens_(std::move(tokens)) {
  for (size_t i = 0; i < tokens_.size(); ++i) {
    const AddedToken& t = tokens_[i];
    const std::string content = t.normalized ? normalizer.apply(t.content) : t.content;
    if (!content.empty()) tries_[t.normalized].add(content, static_cast<int32_t>(i));
  }
}

void AddedTokens::split(std::string_view input, bool normalized, const Rules& rules,
                        FunctionRef<void(std::string_view)> text, FunctionRef<void(int32_t)> token) const {
  const Trie& trie = tries_[normalized];
  size_t done = 0, space_end = 0;  // space_end: the end of the white space looked at last
  for (size_t at = 0; at < input.size();) {
    size_t length = 0;
    int32_t index = -1;
    while (at < input.size() && !trie.first[static_cast<unsigned char>(input[at])]) ++at;
    if (at < input.size()) index = trie.find(input.substr(at), length);
    if (index < 0) {
      ++at;
      continue;
    }
    const AddedToken& t = tokens_[static_cast<size_t>(index)];
    size_t begin = at, end = at + length;
    at = end;  // a match that is refused still hides what overlaps it, as in HF tokenizers
    if (t.special && (!rules.special || overlaps(rules.data, begin, end))) continue;
    if (t.single_word && (ends_with_word(input.substr(0, begin)) || starts_with_word(input.substr(end))))
      continue;
    if (t.lstrip && begin > done) begin -= trailing_space(input.substr(done, begin - done));
    if (t.rstrip) {
      if (end >= space_end) space_end = end + leading_space(input.substr(end));
      end = space_end;
    }
    if (begin > done) text(input.substr(done, begin - done));
    token(t.id);
    done = end;
  }
  if (done < input.size()) text(input.substr(done));
}

}  // namespace frugal
