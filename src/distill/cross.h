// Learning from a teacher with another tokenizer (distill/alignment.h).
//
// uld: at every place where tokens of both begin, the two next-token distributions are compared rank by rank
//   (ops::sorted_distance; ULD, Boizard et al. 2025, "Towards Cross-Tokenizer Distillation", §3, which pairs
//   the tokens by number instead).
// alm: between such places both spell the same bytes, and the likelihoods of these chunks are compared
//   (approximate likelihood matching, Minixhofer et al. 2025, "Universal Cross-Tokenizer Distillation", §3,
//   with KL as the divergence and without the debiasing of chunk ends).
#pragma once

#include <functional>
#include <span>

#include "distill/alignment.h"
#include "distill/teacher.h"

namespace frugal {

// Of one chunk, from its log-likelihoods (not positive): with a = exp(teacher / tau), b = exp(student / tau),
//   loss = tau (a log(a / b) + (1 - a) log((1 - a) / (1 - b))),
// a divergence of the chance that this chunk comes next. tau flattens both, so that long and unlikely chunks
// count too; the factor keeps gradients the same size: for large tau the loss becomes t log(t / s) - t + s of
// the negative log-likelihoods t and s.
struct ChunkLoss {
  double loss = 0, gradient = 0;  // d loss / d student
};
ChunkLoss chunk_loss(double teacher, double student, double tau);

// The alm loss of rows with targets: sum over the chunks of weights.teacher * chunk_loss, with the teacher's
// log-likelihood of each, and over the targets of weights.targets * cross-entropy; `weights` of a row. Its
// gradients times `scale` are put on the tape.
double match_likelihoods(Context& ctx, const Tensor& hidden, const Tensor& head,
                         std::span<const int32_t> targets, std::span<const AlignedRows::Chunk> chunks,
                         std::span<const double> teacher,
                         const std::function<DistillWeights(int64_t row)>& weights, double tau, float scale);

struct CrossOptions {
  enum class Loss { uld, alm };
  Loss loss = Loss::uld;
  DistillWeights weights;  // in rows of the data; the student's own have the teacher's loss alone
  double temperature = 1;  // uld: of both distributions
  double tau = 100;        // alm
};

// The objective's sums count a place or chunk as part of the mean over targets, as cross-entropy does.
// Everything outlives the result.
Objective cross_objective(Model& teacher, const TokenAligner& aligner, const CrossOptions& options,
                          TeacherTally& tally);

}  // namespace frugal
