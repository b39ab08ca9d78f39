// SentencePiece BPE as Llama 2 uses it: the pair of neighbours whose union has the best score is merged,
// leftmost first, until no union is a piece. Characters without a piece become byte pieces. const calls are
// safe from any number of threads.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

namespace frugal {

class SpmModel {
 public:
  // pieces[id]: a text that words may become, with plain spaces; an empty view where there is none. The views
  // must outlive the model. byte_ids: 256 ids, or -1 where there is no such piece. `unknown`: the
  // id of what has neither, or -1 (then it is an Error when it is met).
  SpmModel(const std::vector<std::string_view>& pieces, std::vector<float> scores,
           std::vector<int32_t> byte_ids, int32_t unknown);

  // Appends the ids of `text`. Takes O(n log n) for a stretch that cannot be cut.
  void encode(std::string_view text, std::vector<int32_t>& out) const;
  // The id of a whole piece, or -1.
  int32_t find(std::string_view piece) const;

 private:
  void encode_word(std::string_view word, std::vector<int32_t>& out) const;

  std::unordered_map<std::string_view, int32_t> ids_;
  std::vector<float> scores_;
  std::vector<int32_t> byte_ids_;
  int32_t unknown_;
  std::unordered_set<uint64_t> pairs_;  // neighbouring characters that occur in some piece
};

}  // namespace frugal
