// Asks a remote model every prompt of a recipe and keeps the good answers as training text.
//
// The output folder has
//   journal.jsonl   all that was asked, answered and paid, with the provenance of every answer (journal.h)
//   dataset.jsonl   the kept answers in the order of the prompts, a row each for `frugal tune`: "messages",
//                   "finish_reason", "provenance", "answer" and "logprobs" where there are; made anew by
//                   every run from the journal, so that other filters cost nothing
//   summary.json    the figures of AskOutcome
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <string>

#include "core/files.h"
#include "core/json.h"
#include "remote/client.h"
#include "remote/options.h"

namespace frugal::remote {

struct AskOutcome {
  fs::path dataset;
  int64_t wanted = 0;      // answers: distinct prompts times samples
  int64_t duplicates = 0;  // prompts that stood there twice
  int64_t known = 0;       // answered by earlier runs
  int64_t answered = 0;    // by this one
  int64_t failed = 0;      // prompts given up, to be asked again by the next run
  int64_t retries = 0;
  int64_t kept = 0;
  std::map<std::string, int64_t> dropped;        // by the filter's reason
  std::map<std::string, int64_t> flags;          // of all answers: usage that cannot be, and the like
  int64_t prompt_tokens = 0, answer_tokens = 0;  // of this run
  double dollars = 0;                            // of this run's answers
  double uncertain = 0;                          // of its requests that failed but may be billed
  double spent = 0;      // of all runs together, what is uncertain included: what the cap counts
  bool capped = false;   // the next request might have passed the cap
  bool stopped = false;  // by the user
  std::string failure;   // why prompts failed: the first; or why all asking ended

  int64_t missing() const { return wanted - known - answered; }
  Json json() const;
};

struct AskSettings {
  Access access;
  const std::atomic<bool>* stop = nullptr;  // set: no new request begins, those under way are waited for
  std::function<void(const AskOutcome&)> progress;  // after each answer, one call at a time
};

// Error when folder, journal or prompts are unusable; what happens at the endpoint is in the outcome.
AskOutcome ask(const AskOptions& options, const fs::path& output, const AskSettings& settings);

}  // namespace frugal::remote
