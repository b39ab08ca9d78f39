// Where guesses at the next tokens come from. A guess is never trusted: what a reply becomes does not depend
// on it, only how long that takes (infer/speculation.h).
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "models/model.h"

namespace frugal {

// off; lookup: what followed the same words earlier in the text; mtp: the model's own multi-token prediction.
enum class DraftKind { off, lookup, mtp };
std::string_view to_string(DraftKind kind);
DraftKind parse_draft_kind(const std::string& text);  // UsageError lists the names

struct Draft {
  std::vector<int32_t> tokens;
  int kind = 0;  // of evidence: drafts of one kind turn out right about equally often
};

class Drafter {
 public:
  virtual ~Drafter() = default;
  // For each kind of draft, how often a token of it is right, before that was seen.
  virtual std::vector<double> priors() const = 0;
  // True when a draft costs next to nothing, so that one may be made without the intent to check it.
  virtual bool free() const = 0;
  // At most `most` tokens that may follow `text`; none when there is no idea.
  virtual Draft propose(std::span<const int32_t> text, int64_t most) = 0;
};

// Finds the last place where the text's last tokens stood before and copies what came next (Saxena 2023,
// "Prompt Lookup Decoding"). Longer matches first; indexed as the text grows.
class LookupDrafter : public Drafter {
 public:
  std::vector<double> priors() const override;
  bool free() const override { return true; }
  // `text` begins with the text of the call before, or the drafter is a new one.
  Draft propose(std::span<const int32_t> text, int64_t most) override;

 private:
  struct Places {
    std::unordered_map<uint64_t, int64_t> after;  // hash of tokens -> position behind their last occurrence
  };
  std::vector<Places> lengths_;
  int64_t indexed_ = 0;  // positions whose endings are in the index
};

}  // namespace frugal
