// What the stages that teach and learn share. Private to pipeline/.
#pragma once

#include <memory>

#include "data/stream.h"
#include "distill/cache.h"
#include "pipeline/stages.h"
#include "train/batch_source.h"

namespace frugal {

// The stream of rows that a run trains on, and a teacher before it.
std::unique_ptr<BatchStream> training_stream(Run& run);

// Where the teacher's cache lies, and what it must have been made from.
fs::path teacher_cache(const Run& run);
CacheIdentity teacher_identity(Run& run);

// Ids of the teacher: the student's vocabulary.
int64_t teacher_vocabulary(const Run& run);

// Notes in the cache that this run learns from it; what it cost, split evenly among all that do: {"runs",
// "seconds", "joules", "dollars"}.
Json charge_cache(const Run& run, const CacheReader& cache);

}  // namespace frugal
