// Top log-probabilities of a remote teacher as targets (frugal distill ask with parameters.logprobs): at
// every token of a reply the teacher's most likely tokens with their probabilities, and the rest as one
// bucket, as in a cache of top_k. The teacher's tokens are strings. Where a token of the reply is one of the
// student's tokens as well, byte for byte and at the same place, the teacher's words there are targets, each
// as the student's token of the same bytes; those that the student lacks are part of the bucket. Everywhere
// else the reply itself is learnt, as without a teacher.
#pragma once

#include <string>

#include "models/model.h"
#include "text/tokenizer.h"
#include "train/loss.h"
#include "tune/sequence.h"

namespace frugal {

// Of the tokens of replies that came with log-probabilities.
struct SoftTargetCounts {
  int64_t examples = 0, mapped = 0, unmapped = 0;

  void add(const SoftTargetCounts& other);
};

// Puts what `logprobs_json` ([{"token", "bytes", "logprob", "top": [...]}, ...]) says of the last turn that
// is learnt beside the sequence (TokenSequence::extra): of the row that predicts a token the weight of the
// bucket, then for each word its id and 1, and its weight; 0 where there is none. Error starting with `where`
// when it is no such list.
SoftTargetCounts attach_logprobs(const Tokenizer& tokenizer, const std::string& logprobs_json,
                                 const std::string& where, TokenSequence& sequence);

// Supervised fine-tuning where rows may have such targets: weight times the cross-entropy against the
// teacher's distribution and 1 - weight times that of the token; the token's alone where there are none.
LossSums soft_target_objective(Context& ctx, Model& model, const TrainBatch& rows, const LossSums& step,
                               double weight);

}  // namespace frugal
