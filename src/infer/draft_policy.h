// Whether a guess at the next tokens is worth checking, and how long a guess. Checking k drafted tokens takes
// one pass over k + 1 rows, whose time is measured as it goes; a draft's i-th token is right with a frequency
// that is counted as it goes. What is expected to give the most tokens a second is chosen, plain decoding
// included. (Leviathan et al. 2023, "Fast Inference from Transformers via Speculative Decoding", §3.3, with
// measured times in place of a constant cost.)
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <vector>

namespace frugal {

class DraftPolicy {
 public:
  // Drafts of at most `longest` tokens, of one kind for each of `priors`: how often a token of it is right,
  // before that was seen.
  DraftPolicy(int64_t longest, std::vector<double> priors);

  // A pass over `rows` rows took so long.
  void saw_pass(int64_t rows, double seconds);
  // Making a draft of `tokens` took so long.
  void saw_drafting(int64_t tokens, double seconds);
  // Of a draft's `tokens`, the first `right` were; the others after the first wrong one say nothing.
  void saw_draft(int kind, int64_t tokens, int64_t right);

  // How many of `available` drafted tokens to check next; 0: none.
  int64_t choose(int kind, int64_t available) const;
  // False until plain passes have been timed: there is nothing to compare with.
  bool ready() const;

  double pass_seconds(int64_t rows) const;
  // Tokens that a pass over a draft of that length gives, the one after the last right one included.
  double expected_tokens(int kind, int64_t drafted) const;
  double expected_seconds(int64_t drafted) const;  // of drafting and checking

 private:
  // The median of the last few.
  struct Recent {
    std::array<double, 9> values{};
    int64_t count = 0;
    void add(double value) { values[static_cast<size_t>(count++) % values.size()] = value; }
    double median() const;
  };
  struct Frequency {
    double right = 0, tried = 0;
  };
  double frequency(int kind, int64_t position) const;

  int64_t longest_;
  std::map<int64_t, Recent> passes_;  // by rows
  Recent drafting_;                   // seconds a token
  std::vector<double> priors_;
  std::vector<std::vector<Frequency>> kinds_;
};

}  // namespace frugal
