// Whether a guess at the next tokens is worth checking, and how long a guess. Checking k drafted tokens takes
// one pass over k + 1 rows, whose time is measured as it goes, in plain passes; a draft's i-th token is right
// with a frequency that is counted as it goes. What is expected to give the most tokens a second is chosen,
// plain decoding included. (Leviathan et al. 2023, "Fast Inference from Transformers via Speculative
// Decoding", §3.3, with measured times in place of a constant cost.)
//
// What is foreseen takes the means. What is chosen has to pay even if tokens are right less often than
// that, by the standard error of what was counted: where little is known there are no drafts.
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

  // Another text: plain passes are timed anew and what was counted counts less; what a row more costs stays.
  void begin_reply();

  // A pass over `rows` rows took so long.
  void saw_pass(int64_t rows, double seconds);
  // Making a draft of `tokens` took so long.
  void saw_drafting(int64_t tokens, double seconds);
  // Whether the token at `position` of a draft was right, those before it having been.
  void saw_token(int kind, int64_t position, bool right);

  // How many of `available` drafted tokens to check next; 0: none. When all of them are wrong, no more than
  // `spare` plain passes may be lost.
  int64_t choose(int kind, int64_t available, double spare) const;
  // False until plain passes have been timed: there is nothing to compare with.
  bool ready() const { return plain_.count >= kPlainPasses; }

  double plain_seconds() const;
  // Of a pass over so many rows, in plain passes.
  double pass_cost(int64_t rows) const;
  // Tokens that a pass over a draft of that length gives, the one after the last right one included.
  double expected_tokens(int kind, int64_t drafted) const;
  double expected_cost(int64_t drafted) const;  // of drafting and checking, in plain passes

 private:
  static constexpr int64_t kPlainPasses = 3;
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
  struct Estimate {
    double mean, cautious;
  };
  Estimate frequency(int kind, int64_t position) const;
  double tokens(int kind, int64_t drafted, double Estimate::*which) const;

  int64_t longest_;
  Recent plain_;                     // seconds
  std::map<int64_t, Recent> costs_;  // by rows, from 2 on
  Recent row_cost_;                  // of a row more, whatever the number of rows
  Recent drafting_;                  // seconds a token
  std::vector<double> priors_;
  std::vector<std::vector<Frequency>> kinds_;
};

}  // namespace frugal
