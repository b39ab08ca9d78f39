#include "infer/drafter.h"

#include <algorithm>
#include <array>

#include "core/error.h"

namespace frugal {
namespace {

// Tokens that have to match, the most telling first.
constexpr std::array<int64_t, 5> kMatch{8, 5, 3, 2, 1};
// Kinds of drafts: the match is at least so long.
struct Kind {
  int64_t matched;
  double prior;
};
constexpr std::array<Kind, 7> kKinds{
    {{32, 0.95}, {16, 0.85}, {8, 0.7}, {5, 0.5}, {3, 0.3}, {2, 0.18}, {1, 0.08}}};

uint64_t hash_of(std::span<const int32_t> tokens) {
  uint64_t hash = 0x9e3779b97f4a7c15u;
  for (const int32_t id : tokens) {
    hash = (hash ^ static_cast<uint32_t>(id)) * 0xff51afd7ed558ccdu;
    hash ^= hash >> 32;
  }
  return hash;
}

std::span<const int32_t> ending(std::span<const int32_t> text, int64_t end, int64_t length) {
  return text.subspan(static_cast<size_t>(end - length), static_cast<size_t>(length));
}

// The kind of a match of the text's end with what stands before `end`.
int kind_of(std::span<const int32_t> text, int64_t end) {
  const int64_t most = std::min(kKinds.front().matched, end);
  int64_t length = 0;
  while (length < most &&
         text[static_cast<size_t>(end - 1 - length)] == text[text.size() - 1 - static_cast<size_t>(length)])
    ++length;
  const auto kind = std::ranges::find_if(kKinds, [&](const Kind& k) { return k.matched <= length; });
  return static_cast<int>(kind - kKinds.begin());
}

}  // namespace

std::string_view to_string(DraftKind kind) {
  switch (kind) {
    case DraftKind::off:
      return "off";
    case DraftKind::lookup:
      return "lookup";
    case DraftKind::mtp:
      return "mtp";
  }
  return "";
}

DraftKind parse_draft_kind(const std::string& text) {
  for (const DraftKind kind : {DraftKind::off, DraftKind::lookup, DraftKind::mtp}) {
    if (text == to_string(kind)) return kind;
  }
  fail_usage("--draft {}: expected lookup, mtp or off", text);
}

std::vector<double> LookupDrafter::priors() const {
  std::vector<double> priors;
  for (const Kind& kind : kKinds) priors.push_back(kind.prior);
  return priors;
}

Draft LookupDrafter::propose(std::span<const int32_t> text, int64_t most) {
  lengths_.resize(kMatch.size());
  const int64_t size = std::ssize(text);
  for (; indexed_ < size - 1; ++indexed_) {  // not the text's own end: it would find itself
    const int64_t end = indexed_ + 1;
    for (size_t i = 0; i < kMatch.size(); ++i) {
      if (end >= kMatch[i]) lengths_[i].after[hash_of(ending(text, end, kMatch[i]))] = end;
    }
  }
  for (size_t i = 0; i < kMatch.size(); ++i) {
    if (size <= kMatch[i]) continue;
    const auto here = ending(text, size, kMatch[i]);
    const auto found = lengths_[i].after.find(hash_of(here));
    if (found == lengths_[i].after.end()) continue;
    const int64_t from = found->second;
    if (!std::ranges::equal(ending(text, from, kMatch[i]), here)) continue;  // another text of the same hash
    Draft draft{{}, kind_of(text, from)};
    for (int64_t j = from; std::ssize(draft.tokens) < most; ++j) {  // what repeats may outrun the text
      draft.tokens.push_back(j < size ? text[static_cast<size_t>(j)]
                                      : draft.tokens[static_cast<size_t>(j - size)]);
    }
    return draft;
  }
  return {};
}

}  // namespace frugal
