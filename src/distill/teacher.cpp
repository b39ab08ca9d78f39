#include "distill/teacher.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "distill/on_policy.h"
#include "tune/packing.h"

namespace frugal {
namespace {

constexpr int64_t kLogitValues = int64_t{1} << 22;  // 16 MB of the teacher's logits at a time

// What the teacher says of every token of `batch` that has a target.
std::vector<std::optional<SparseDistribution>> ask(Context& ctx, Model& teacher, const TrainBatch& batch,
                                                   const CacheIdentity& identity) {
  TeacherTally unused;  // the caller knows the cost
  const Tensor hidden = teacher_hidden(ctx, teacher, to_batch(batch), unused);
  std::vector<int64_t> wanted;
  for (size_t i = 0; i < batch.targets.size(); ++i) {
    if (batch.targets[i] >= 0) wanted.push_back(static_cast<int64_t>(i));
  }
  std::vector<std::optional<SparseDistribution>> out(batch.targets.size());
  const CacheKind kind = identity.parsed_kind();
  const int64_t vocab = identity.vocab_size, step = std::max<int64_t>(1, kLogitValues / vocab);
  const auto first_token = static_cast<uint64_t>(batch.first * batch.length);
  for (size_t begin = 0; begin < wanted.size(); begin += static_cast<size_t>(step)) {
    const auto rows =
        std::span(wanted).subspan(begin, std::min(wanted.size() - begin, static_cast<size_t>(step)));
    const Tensor z = logits(ctx, teacher, hidden, rows);
    ctx.pool.parallel_for(static_cast<int64_t>(rows.size()), 1, [&](int64_t from, int64_t to, int) {
      for (int64_t r = from; r < to; ++r) {
        const auto token = static_cast<size_t>(rows[static_cast<size_t>(r)]);
        const auto row = z.values().subspan(static_cast<size_t>(r * vocab), static_cast<size_t>(vocab));
        out[token] = kind == CacheKind::sampled
                         ? draw(row, static_cast<int>(identity.draws), static_cast<uint64_t>(identity.seed),
                                first_token + token)
                         : most_likely(row, static_cast<int>(identity.top_k));
      }
    });
  }
  return out;
}

}  // namespace

Tensor teacher_hidden(const Context& ctx, Model& teacher, const Batch& batch, TeacherTally& tally) {
  Context quiet = ctx;
  quiet.tape = nullptr;
  quiet.aux = nullptr;
  const Work work =
      forward_work(teacher, batch.rows() / std::max<int64_t>(1, batch.sequences()), batch.rows(), 1);
  tally.work.flops += work.flops;
  tally.work.bytes += work.bytes;
  return teacher.forward(quiet, batch, nullptr).normed;
}

bool fill_cache(Context& ctx, Model& teacher, BatchSource& source, CacheWriter& writer,
                const CacheIdentity& identity, int64_t rows, int64_t at_once,
                const TeacherProgress& progress) {
  CHECK(at_once > 0 && teacher.shape().vocab_size == identity.vocab_size);
  const int64_t length = identity.context;
  int64_t done = 0;
  while (done < writer.rows()) done += source.next(std::min(at_once, writer.rows() - done), length).rows;
  while (done < rows) {
    TrainBatch batch = source.next(std::min(at_once, rows - done), length);
    batch.first = done;
    const auto said = ask(ctx, teacher, batch, identity);
    for (int64_t r = 0; r < batch.rows; ++r) {
      writer.add(row_hash(batch, r), {said.begin() + r * length, said.begin() + (r + 1) * length});
    }
    done += batch.rows;
    if (progress && !progress(done)) return false;
  }
  return true;
}

CachedRows::CachedRows(BatchSource& source, int64_t rows)
    : source_(source), rows_(rows), beginning_(to_text(source.state())) {}

TrainBatch CachedRows::next(int64_t rows, int64_t length) {
  if (rows > rows_) fail("the teacher's cache has {} rows, less than one batch of {}", rows_, rows);
  if (at_ + rows > rows_) {
    source_.restore(parse_json(beginning_, "the start of the data"), "the start of the data");
    at_ = 0;
  }
  TrainBatch batch = source_.next(rows, length);
  batch.first = at_;
  at_ += rows;
  return batch;
}

Json CachedRows::state() const {
  return {{"cached_row", at_}, {"source", source_.state()}};
}

void CachedRows::restore(const Json& state, const std::string& where) {
  if (!state.is_object() || !state.contains("source") || !state.contains("cached_row") ||
      !state["cached_row"].is_number_integer()) {
    fail("{}: the data's position is not one of a distillation", where);
  }
  const auto at = state["cached_row"].get<int64_t>();
  if (at < 0 || at > rows_) fail("{}: row {} of a teacher's cache of {}", where, at, rows_);
  source_.restore(state["source"], where);
  at_ = at;
}

Objective cached_objective(CacheReader& cache, const DistillWeights& weights) {
  return [&cache, weights](Context& ctx, Model& model, const TrainBatch& rows, const LossSums& step,
                           double mtp_lambda) {
    LossSums sums;
    TeacherRows said;
    if (!ctx.dry_run()) said = cache.read(rows.first, rows);
    if (ctx.dry_run()) said.offsets.assign(rows.tokens.size() + 1, 0);
    for (float& weight : said.weights) weight *= static_cast<float>(weights.teacher);
    for (float& tail : said.tails) tail *= static_cast<float>(weights.teacher);
    const Hidden hidden = model.forward(ctx, to_batch(rows), nullptr);
    const float scale = step.targets > 0 ? 1 / static_cast<float>(step.targets) : 0;
    const ops::SparseTargets targets{said.offsets, said.ids, said.weights, said.tails};
    sums.main = ops::sparse_cross_entropy(ctx, hidden.normed, model.head(), targets, rows.targets,
                                          static_cast<float>(weights.targets), scale)
                    .loss_sum;
    add_mtp_losses(ctx, model, hidden, rows, step, mtp_lambda, sums);
    if (ctx.tape != nullptr) ctx.tape->backward(ctx);
    return sums;
  };
}

Objective online_objective(Model& teacher, const ops::DivergenceOptions& options, TeacherTally& tally) {
  return [&teacher, options, &tally](Context& ctx, Model& model, const TrainBatch& given,
                                     const LossSums& step, double mtp_lambda) {
    LossSums sums;
    const TrainBatch rows = given.extra.empty() ? given : compact(given);
    const Tensor teacher_rows = teacher_hidden(ctx, teacher, to_batch(rows), tally);
    const Hidden hidden = model.forward(ctx, to_batch(rows), nullptr);
    const float scale = step.targets > 0 ? 1 / static_cast<float>(step.targets) : 0;
    const auto distance = [&](std::span<const int32_t> targets, const ops::DivergenceOptions& how) {
      const auto result = ops::divergence(ctx, hidden.normed, model.head(), teacher_rows, teacher.head(),
                                          targets, how, scale);
      tally.targets += result.counted;
      tally.met += result.counted;
      return result.loss_sum;
    };
    const SplitTargets targets = split_targets(rows);
    sums.main = distance(targets.data, options);
    if (!rows.extra.empty()) {
      ops::DivergenceOptions own = options;
      own.weight = 1;
      own.hard_weight = 0;
      sums.main += distance(targets.own, own);
    }
    add_mtp_losses(ctx, model, hidden, rows, step, mtp_lambda, sums);
    if (ctx.tape != nullptr) ctx.tape->backward(ctx);
    return sums;
  };
}

}  // namespace frugal
