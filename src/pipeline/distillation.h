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

// Prompts that the student answers (distill.prompts) as ids, those without room for an answer left out.
std::vector<std::vector<int32_t>> student_prompts(const Run& run, const Tokenizer& tokenizer);

// What the cache cost so far, from its facts.
Bill cost_of(const std::string& cache_facts);
// Notes in the cache that this run has learned from so many of its tokens; this run's part of what it cost,
// split by tokens among all that learned from it: {"runs", "fraction", "seconds", "joules", "dollars",
// "co2_g"}.
Json charge_cache(const Run& run, const CacheReader& cache, int64_t tokens);

}  // namespace frugal
