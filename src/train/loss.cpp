#include "train/loss.h"

#include <algorithm>
#include <numeric>

#include "core/error.h"

namespace frugal {
namespace {

// Rows of depth k: those whose sequence goes on for k more tokens. The others have no token to embed, and
// leaving them out keeps them out of routing counts and balance loss.
struct Shifted {
  Batch batch;                   // tokens k further on
  std::vector<int32_t> targets;  // k further on; -1 across documents
  std::vector<int64_t> rows;     // of the batch
};

Shifted shift(const TrainBatch& batch, int64_t depth) {
  Shifted out;
  out.batch.offsets.push_back(0);
  for (size_t s = 0; s + 1 < batch.offsets.size(); ++s) {
    for (int64_t i = batch.offsets[s]; i + depth < batch.offsets[s + 1]; ++i) {
      const auto here = static_cast<size_t>(i), there = static_cast<size_t>(i + depth);
      out.rows.push_back(i);
      out.batch.tokens.push_back(batch.tokens[there]);
      out.batch.positions.push_back(batch.positions[here]);
      out.targets.push_back(batch.document[here] == batch.document[there] ? batch.targets[there] : -1);
    }
    const auto end = static_cast<int64_t>(out.rows.size());
    if (end > out.batch.offsets.back()) out.batch.offsets.push_back(end);
  }
  return out;
}

int64_t count(const std::vector<int32_t>& targets) {
  return std::count_if(targets.begin(), targets.end(), [](int32_t t) { return t >= 0; });
}

// Where each of `rows` stands among `among` (ascending, a superset).
std::vector<int64_t> positions_among(const std::vector<int64_t>& rows, const std::vector<int64_t>& among) {
  std::vector<int64_t> out;
  size_t at = 0;
  for (const int64_t row : rows) {
    while (among[at] < row) ++at;
    out.push_back(static_cast<int64_t>(at));
  }
  return out;
}

float scale_of(double weight, int64_t targets) {
  return targets > 0 ? static_cast<float>(weight / static_cast<double>(targets)) : 0.0f;
}

}  // namespace

Batch to_batch(const TrainBatch& rows) {
  Batch batch;
  batch.tokens = rows.tokens;
  batch.positions = rows.positions;
  batch.offsets = rows.offsets;
  return batch;
}

void LossSums::add(const LossSums& other) {
  main += other.main;
  CHECK(mtp.size() == other.mtp.size());
  for (size_t k = 0; k < mtp.size(); ++k) mtp[k] += other.mtp[k];
}

double LossSums::mtp_mean() const {
  double sum = 0;
  for (size_t k = 0; k < mtp.size(); ++k) {
    if (mtp_targets[k] > 0) sum += mtp[k] / static_cast<double>(mtp_targets[k]);
  }
  return mtp.empty() ? 0 : sum / static_cast<double>(mtp.size());
}

LossSums count_targets(const TrainBatch& batch, int64_t mtp_depth) {
  LossSums sums;
  sums.targets = count(batch.targets);
  for (int64_t k = 1; k <= mtp_depth; ++k) sums.mtp_targets.push_back(count(shift(batch, k).targets));
  sums.mtp.assign(sums.mtp_targets.size(), 0.0);
  return sums;
}

TrainBatch slice_rows(const TrainBatch& batch, int64_t begin, int64_t end) {
  CHECK(0 <= begin && begin < end && end <= batch.rows);
  const int64_t first = begin * batch.length, last = end * batch.length;
  const auto cut = [&](const std::vector<int32_t>& all) {
    return std::vector<int32_t>(all.begin() + first, all.begin() + last);
  };
  TrainBatch out{end - begin,
                 batch.length,
                 cut(batch.tokens),
                 cut(batch.targets),
                 cut(batch.positions),
                 cut(batch.document),
                 {},
                 {},
                 batch.first + begin};
  for (const int64_t offset : batch.offsets) {
    if (offset >= first && offset <= last) out.offsets.push_back(offset - first);
  }
  for (const std::vector<float>& column : batch.extra) {
    out.extra.emplace_back(column.begin() + first, column.begin() + last);
  }
  return out;
}

LossSums next_token_objective(Context& ctx, Model& model, const TrainBatch& rows, const LossSums& step,
                              double mtp_lambda) {
  LossSums sums;
  const Hidden hidden = model.forward(ctx, to_batch(rows), nullptr);
  sums.main =
      ops::cross_entropy(ctx, hidden.normed, model.head(), rows.targets, scale_of(1, step.targets)).loss_sum;
  add_mtp_losses(ctx, model, hidden, rows, step, mtp_lambda, sums);
  if (ctx.tape != nullptr) ctx.tape->backward(ctx);
  return sums;
}

void add_mtp_losses(Context& ctx, Model& model, const Hidden& hidden, const TrainBatch& rows,
                    const LossSums& step, double mtp_lambda, LossSums& sums) {
  const size_t depths = step.mtp.size();
  Tensor previous = hidden.before_norm;
  std::vector<int64_t> kept(static_cast<size_t>(rows.rows * rows.length));
  std::iota(kept.begin(), kept.end(), 0);
  for (size_t k = 1; k <= depths; ++k) {
    const Shifted shifted = shift(rows, static_cast<int64_t>(k));
    sums.mtp.push_back(0);
    if (shifted.rows.empty()) continue;
    previous = ops::gather_rows(ctx, previous, positions_among(shifted.rows, kept));
    const Hidden further = model.mtp(ctx, previous, shifted.batch, static_cast<int>(k));
    const float scale = scale_of(mtp_lambda / static_cast<double>(depths), step.mtp_targets[k - 1]);
    sums.mtp.back() = ops::cross_entropy(ctx, further.normed, model.head(), shifted.targets, scale).loss_sum;
    previous = further.before_norm;
    kept = shifted.rows;
  }
}

LossSums evaluate_rows(Context& ctx, Model& model, const TrainBatch& rows, Cache* cache) {
  Context quiet = ctx;
  quiet.tape = nullptr;
  quiet.aux = nullptr;
  Batch batch = to_batch(rows);
  for (int s = 0; cache != nullptr && s < batch.sequences(); ++s) batch.slots.push_back(s);
  const Hidden hidden = model.forward(quiet, batch, cache);
  for (const int slot : batch.slots) cache->truncate(slot, 0);
  const auto result = ops::cross_entropy(quiet, hidden.normed, model.head(), rows.targets, 0);
  return {result.loss_sum, result.counted, {}, {}};
}

}  // namespace frugal
