#include "distill/cross.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "core/error.h"
#include "distill/on_policy.h"
#include "tune/packing.h"

namespace frugal {
namespace {

// Some rows of a step, seen by both.
struct Scene {
  Context& ctx;
  Model& student;
  Model& teacher;
  const CrossOptions& options;
  const TrainBatch& rows;
  const AlignedRows& aligned;
  Tensor hidden, teacher_hidden;
  float scale;
};

// Of the loss against the teacher, and of cross-entropy.
DistillWeights weights_of(const CrossOptions& options, bool own) {
  return own ? DistillWeights{1, 0} : options.weights;
}

double ranks(const Scene& s) {
  const SplitTargets targets = split_targets(s.rows);
  double sum = 0;
  for (const bool own : {false, true}) {
    const DistillWeights weights = weights_of(s.options, own);
    ops::DivergenceOptions options;
    options.temperature = static_cast<float>(s.options.temperature);
    options.weight = static_cast<float>(weights.teacher);
    options.hard_weight = static_cast<float>(weights.targets);
    sum += ops::sorted_distance(s.ctx, s.hidden, s.student.head(), s.teacher_hidden, s.teacher.head(),
                                s.aligned.teacher_rows, own ? targets.own : targets.data, options, s.scale)
               .loss_sum;
  }
  return sum;
}

double sum_of(const Tensor& values, int64_t begin, int64_t end) {
  double sum = 0;
  for (int64_t i = begin; i < end; ++i) sum += static_cast<double>(values.f32()[i]);
  return sum;
}

// The teacher's log-likelihoods of the chunks.
std::vector<double> teacher_likelihoods(const Scene& s) {
  std::vector<int32_t> targets(s.aligned.targets.size(), -1);
  for (const AlignedRows::Chunk& chunk : s.aligned.chunks) {
    for (auto i = static_cast<size_t>(chunk.teacher_begin); i < static_cast<size_t>(chunk.teacher_end); ++i) {
      targets[i] = s.aligned.targets[i];
    }
  }
  Context quiet = s.ctx;
  quiet.tape = nullptr;
  const Tensor tokens = ops::token_log_probs(quiet, s.teacher_hidden, s.teacher.head(), targets);
  std::vector<double> out;
  for (const AlignedRows::Chunk& chunk : s.aligned.chunks) {
    out.push_back(sum_of(tokens, chunk.teacher_begin, chunk.teacher_end));
  }
  return out;
}

double likelihoods(const Scene& s) {
  const auto weights = [&](int64_t row) {
    const bool own = !s.rows.extra.empty() && s.rows.extra[kOwnColumn][static_cast<size_t>(row)] != 0;
    return weights_of(s.options, own);
  };
  return match_likelihoods(s.ctx, s.hidden, s.student.head(), s.rows.targets, s.aligned.chunks,
                           teacher_likelihoods(s), weights, s.options.tau, s.scale);
}

// No text of the rows has a teacher.
double hard_alone(Context& ctx, Model& student, const Tensor& hidden, const TrainBatch& rows, double weight,
                  float scale) {
  return weight * ops::cross_entropy(ctx, hidden, student.head(), split_targets(rows).data,
                                     static_cast<float>(weight) * scale)
                      .loss_sum;
}

}  // namespace

ChunkLoss chunk_loss(double teacher, double student, double tau) {
  constexpr double kLeast = 1e-6;  // chance of anything else: a model that is certain has a loss all the same
  const double t = std::min(teacher / tau, 0.0), s = std::min(student / tau, std::log1p(-kLeast));
  const double a = std::exp(t), rest_a = -std::expm1(t), rest_b = -std::expm1(s);
  ChunkLoss out;
  out.loss = tau * (a * (t - s) + (rest_a > 0 ? rest_a * std::log(rest_a / rest_b) : 0.0));
  out.gradient = (std::exp(s) - a) / rest_b;
  return out;
}

double match_likelihoods(Context& ctx, const Tensor& hidden, const Tensor& head,
                         std::span<const int32_t> targets, std::span<const AlignedRows::Chunk> chunks,
                         std::span<const double> teacher,
                         const std::function<DistillWeights(int64_t row)>& weights, double tau, float scale) {
  CHECK(chunks.size() == teacher.size());
  const Tensor own = ops::token_log_probs(ctx, hidden, head, targets);
  std::vector<double> gradients(targets.size(), 0.0);
  double sum = 0;
  for (size_t i = 0; i < gradients.size(); ++i) {
    if (targets[i] < 0) continue;
    const double hard = weights(static_cast<int64_t>(i)).targets;
    sum -= hard * static_cast<double>(own.f32()[i]);
    gradients[i] = -hard;
  }
  for (size_t c = 0; c < chunks.size(); ++c) {
    const auto [begin, end] = std::pair{chunks[c].begin, chunks[c].end};
    const double weight = weights(begin).teacher;
    const ChunkLoss loss = chunk_loss(teacher[c], sum_of(own, begin, end), tau);
    sum += weight * loss.loss;
    for (int64_t i = begin; i < end; ++i) gradients[static_cast<size_t>(i)] += weight * loss.gradient;
  }
  if (recording(ctx, hidden, head)) {
    std::vector<float> scaled;
    for (const double gradient : gradients) scaled.push_back(static_cast<float>(gradient) * scale);
    Tape::seed(ctx, own, scaled);
  }
  return sum;
}

Objective cross_objective(Model& teacher, const TokenAligner& aligner, const CrossOptions& options,
                          TeacherTally& tally) {
  return [&teacher, &aligner, options, &tally](Context& ctx, Model& model, const TrainBatch& given,
                                               const LossSums& step, double mtp_lambda) {
    LossSums sums;
    const TrainBatch rows = given.extra.empty() ? given : compact(given);
    AlignedRows aligned;
    if (!ctx.dry_run()) {
      aligned = aligner.match(rows, rows.extra.empty() ? std::span<const float>() : rows.extra[kOwnColumn]);
    }
    const Hidden hidden = model.forward(ctx, to_batch(rows), nullptr);
    const float scale = step.targets > 0 ? 1 / static_cast<float>(step.targets) : 0;
    if (aligned.batch.rows() == 0) {
      sums.main = hard_alone(ctx, model, hidden.normed, rows, options.weights.targets, scale);
    } else {
      const Scene scene{ctx,  model,   teacher,       options,
                        rows, aligned, hidden.normed, teacher_hidden(ctx, teacher, aligned.batch, tally),
                        scale};
      sums.main = options.loss == CrossOptions::Loss::uld ? ranks(scene) : likelihoods(scene);
    }
    tally.targets += std::ranges::count_if(rows.targets, [](int32_t target) { return target >= 0; });
    tally.met += aligned.met;
    add_mtp_losses(ctx, model, hidden, rows, step, mtp_lambda, sums);
    if (ctx.tape != nullptr) ctx.tape->backward(ctx);
    return sums;
  };
}

}  // namespace frugal
