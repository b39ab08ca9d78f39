// Running a teacher over a data stream, for a cache or beside a student.
#pragma once

#include <functional>

#include "distill/cache.h"
#include "models/model.h"
#include "train/batch_source.h"
#include "train/loss.h"

namespace frugal {

// After every pass over some rows: rows done so far; false stops (what is done is kept).
using TeacherProgress = std::function<bool(int64_t rows)>;

// Fills the cache up to `rows` rows of `source`, which stands at its beginning: rows that are there already
// are skipped. Rows are read `at_once` at a time; nothing but speed and memory depends on it. False when it
// was stopped.
bool fill_cache(Context& ctx, Model& teacher, BatchSource& source, CacheWriter& writer,
                const CacheIdentity& identity, int64_t rows, int64_t at_once,
                const TeacherProgress& progress = {});

// The rows that a cache holds, numbered (TrainBatch::first), from the start again when they are used up; a
// last part shorter than a batch is left out.
class CachedRows : public BatchSource {
 public:
  // `source` stands at its beginning and outlives this.
  CachedRows(BatchSource& source, int64_t rows);
  TrainBatch next(int64_t rows, int64_t length) override;
  Json state() const override;
  void restore(const Json& state, const std::string& where) override;

 private:
  BatchSource& source_;
  int64_t rows_, at_ = 0;
  std::string beginning_;  // the source's state, as text
};

struct DistillWeights {
  double teacher = 0.9,
         targets = 0.1;  // of the loss against the teacher, and of the cross-entropy of the data
};

// Cross-entropy against cached distributions, plus that of the data's own next tokens. The cache outlives the
// result.
Objective cached_objective(CacheReader& cache, const DistillWeights& weights);

// What a teacher beside its student has done since someone looked last.
struct TeacherTally {
  Work work;                     // its forward passes
  int64_t targets = 0, met = 0;  // of the student; those that the teacher had something to say to
};
// A forward pass that leaves nothing behind: the teacher's normed rows.
Tensor teacher_hidden(const Context& ctx, Model& teacher, const Batch& batch, TeacherTally& tally);
// A divergence from a teacher that runs beside the student on the same rows; `options.weight` and
// `hard_weight` mix. In rows that the student wrote itself (distill/on_policy.h) the divergence counts alone.
Objective online_objective(Model& teacher, const ops::DivergenceOptions& options, TeacherTally& tally);

}  // namespace frugal
