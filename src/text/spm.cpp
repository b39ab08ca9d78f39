#include "text/spm.h"

#include <algorithm>
#include <queue>

#include "core/error.h"
#include "text/unicode.h"

namespace frugal {
namespace {

struct Character {
  uint64_t code;
  size_t bytes;
};

// The character at the start of `text`; a byte that belongs to none counts as one, above all code points.
Character first_character(std::string_view text) {
  const DecodedChar c = decode_utf8(text.data(), text.data() + text.size());
  if (c.code == kInvalidChar) return {0x200000u + static_cast<uint8_t>(text[0]), 1};
  return {c.code, c.bytes};
}

uint64_t pair_key(const Character& left, const Character& right) {
  return left.code << 32 | right.code;
}

// A part of a word that is one piece, or a character that is none. Neighbours by index; -1: none.
struct Symbol {
  size_t begin, bytes;
  int32_t previous, next;
};

struct Candidate {
  float score;
  int32_t left, right, id;
  size_t bytes;  // of both, to notice that one was merged since
  bool operator<(const Candidate& other) const {
    return score < other.score || (score == other.score && left > other.left);
  }
};

}  // namespace

SpmModel::SpmModel(const std::vector<std::string_view>& pieces, std::vector<float> scores,
                   std::vector<int32_t> byte_ids, int32_t unknown)
    : scores_(std::move(scores)), byte_ids_(std::move(byte_ids)), unknown_(unknown) {
  CHECK(scores_.size() == pieces.size() && byte_ids_.size() == 256);
  ids_.reserve(pieces.size());
  for (size_t id = 0; id < pieces.size(); ++id) {
    std::string_view piece = pieces[id];
    if (piece.empty()) continue;
    ids_.emplace(piece, static_cast<int32_t>(id));
    Character left = first_character(piece);
    for (piece.remove_prefix(left.bytes); !piece.empty();) {
      const Character right = first_character(piece);
      pairs_.insert(pair_key(left, right));
      piece.remove_prefix(right.bytes);
      left = right;
    }
  }
}

int32_t SpmModel::find(std::string_view piece) const {
  const auto it = ids_.find(piece);
  return it == ids_.end() ? -1 : it->second;
}

// No piece spans two characters that are neighbours in none, so text can be cut between them.
void SpmModel::encode(std::string_view text, std::vector<int32_t>& out) const {
  size_t begin = 0, at = 0;
  Character left{};
  while (at < text.size()) {
    const Character right = first_character(text.substr(at));
    if (at > begin && !pairs_.contains(pair_key(left, right))) {
      encode_word(text.substr(begin, at - begin), out);
      begin = at;
    }
    left = right;
    at += right.bytes;
  }
  if (begin < text.size()) encode_word(text.substr(begin), out);
}

void SpmModel::encode_word(std::string_view word, std::vector<int32_t>& out) const {
  if (const int32_t id = find(word); id >= 0 && word.size() == first_character(word).bytes) {
    out.push_back(id);
    return;
  }
  std::vector<Symbol> symbols;
  for (size_t at = 0; at < word.size();) {
    const size_t bytes = first_character(word.substr(at)).bytes;
    const auto i = static_cast<int32_t>(symbols.size());
    symbols.push_back({at, bytes, i - 1, i + 1});
    at += bytes;
  }
  symbols.back().next = -1;
  std::priority_queue<Candidate> queue;
  const auto consider = [&](int32_t left, int32_t right) {
    if (left < 0 || right < 0) return;
    const Symbol& l = symbols[static_cast<size_t>(left)];
    const size_t bytes = l.bytes + symbols[static_cast<size_t>(right)].bytes;
    const int32_t id = find(word.substr(l.begin, bytes));
    if (id >= 0) queue.push({scores_[static_cast<size_t>(id)], left, right, id, bytes});
  };
  for (size_t i = 1; i < symbols.size(); ++i) consider(static_cast<int32_t>(i) - 1, static_cast<int32_t>(i));
  while (!queue.empty()) {
    const Candidate best = queue.top();
    queue.pop();
    Symbol& left = symbols[static_cast<size_t>(best.left)];
    Symbol& right = symbols[static_cast<size_t>(best.right)];
    if (left.bytes == 0 || right.bytes == 0 || left.bytes + right.bytes != best.bytes) continue;
    left.bytes = best.bytes;
    right.bytes = 0;
    left.next = right.next;
    if (right.next >= 0) symbols[static_cast<size_t>(right.next)].previous = best.left;
    consider(left.previous, best.left);
    consider(best.left, left.next);
  }
  for (int32_t i = 0; i >= 0; i = symbols[static_cast<size_t>(i)].next) {
    const Symbol& s = symbols[static_cast<size_t>(i)];
    const std::string_view piece = word.substr(s.begin, s.bytes);
    if (const int32_t id = find(piece); id >= 0) {
      out.push_back(id);
      continue;
    }
    const bool bytes =
        std::ranges::all_of(piece, [&](char c) { return byte_ids_[static_cast<uint8_t>(c)] >= 0; });
    if (!bytes && unknown_ < 0) fail("the tokenizer has no token for {:?}", piece);
    if (!bytes) {
      out.push_back(unknown_);
      continue;
    }
    for (const char c : piece) out.push_back(byte_ids_[static_cast<uint8_t>(c)]);
  }
}

}  // namespace frugal
