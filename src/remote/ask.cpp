#include "remote/ask.h"

#include <algorithm>
#include <chrono>
#include <ctime>
#include <mutex>
#include <nlohmann/json.hpp>
#include <thread>
#include <vector>

#include "core/error.h"
#include "core/interrupted.h"
#include "core/rng.h"
#include "net/retry.h"
#include "remote/client.h"
#include "remote/filter.h"
#include "remote/journal.h"
#include "remote/prompts.h"
#include "remote/spending.h"

namespace frugal::remote {
namespace {

constexpr double kLongestBackoff = 60, kJitter = 0.5, kBytesPerToken = 4;

double seconds_now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

std::string utc_now() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  ::gmtime_r(&now, &parts);
  char text[32];
  const size_t length = std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts);
  return {text, length};
}

struct Job {
  const Prompt* prompt;
  Request request;
};

Json answer_line(const Job& job, const Answer& answer, const AskOptions& options, double dollars) {
  Json response = {{"role", "assistant"}, {"content", answer.content}};
  if (!answer.reasoning.empty()) response["reasoning_content"] = answer.reasoning;
  Json parameters = parse_json(job.request.body, "request");
  parameters.erase("model");
  parameters.erase("messages");
  parameters.erase("stream");
  Json line = {{"event", "answer"},
               {"key", job.request.key},
               {"dollars", dollars},
               {"messages", parse_json(job.prompt->messages_json, "messages")},
               {"response", std::move(response)},
               {"finish_reason", answer.finish_reason}};
  if (!answer.refusal.empty()) line["refusal"] = answer.refusal;
  if (!answer.flags.empty()) line["flags"] = answer.flags;
  if (!answer.logprobs.empty()) line["logprobs"] = parse_json(answer.logprobs, "logprobs");
  line["provenance"] = {{"endpoint", options.endpoint},
                        {"model", answer.model.empty() ? options.model : answer.model},
                        {"model_asked", options.model},
                        {"time", utc_now()},
                        {"parameters", std::move(parameters)},
                        {"usage", answer.usage.empty() ? Json() : parse_json(answer.usage, "usage")},
                        {"id", answer.id},
                        {"request_id", answer.request_id},
                        {"licence", options.licence}};
  return line;
}

// The threads that ask, and all they share.
class Asking {
 public:
  Asking(const AskOptions& options, const AskSettings& settings, Journal& journal, std::vector<Job> jobs,
         AskOutcome& outcome)
      : options_(options),
        settings_(settings),
        journal_(journal),
        jobs_(std::move(jobs)),
        outcome_(outcome),
        purse_(options.spend_cap, journal.spent()),
        pacer_(options.requests_per_minute, options.tokens_per_minute),
        retry_{static_cast<int>(options.attempts), options.backoff,
               std::max(options.backoff, kLongestBackoff), kJitter} {}

  void run() {
    const size_t count = std::min(jobs_.size(), static_cast<size_t>(options_.concurrency));
    std::vector<std::thread> threads;
    try {
      for (size_t i = 0; i < count; ++i) threads.emplace_back([this] { guarded_work(); });
    } catch (...) {
      end_ = true;
      for (std::thread& thread : threads) thread.join();
      throw;
    }
    // The signal's flag becomes ours: nothing that waits goes on waiting, what was sent is waited for.
    while (ended_ < count) {
      if (user_stops()) end_ = true;
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    for (std::thread& thread : threads) thread.join();
    outcome_.spent = purse_.spent();
    outcome_.stopped = user_stops() && outcome_.missing() > 0;
    if (error_) std::rethrow_exception(error_);
  }

 private:
  bool user_stops() const { return settings_.stop != nullptr && *settings_.stop; }

  void guarded_work() {
    try {
      ChatClient client(options_, settings_.access);
      for (size_t i = next_++; i < jobs_.size() && !end_; i = next_++) work(client, jobs_[i]);
    } catch (const Interrupted&) {  // while it waited
    } catch (...) {
      const std::lock_guard lock(mutex_);
      if (!error_) error_ = std::current_exception();
      end_ = true;
    }
    ++ended_;
  }

  void work(ChatClient& client, const Job& job) {
    net::Patience patience(retry_, &end_, hash64(job.request.key));
    const double worst = cost(options_, job.request.prompt_bound, job.request.answer_bound);
    for (;;) {
      wait_for_turn(job.request);
      if (!purse_.reserve(worst, end_)) {
        const std::lock_guard lock(mutex_);
        outcome_.capped = outcome_.capped || !end_;
        end_ = true;
        return;
      }
      if (end_) return purse_.settle(worst, 0);
      {
        const std::lock_guard lock(mutex_);
        journal_.asked(job.request.key, worst);
      }
      const Attempt attempt = client.ask(job.request);
      if (attempt.outcome == Outcome::answered) return keep(job, attempt.answer, worst);
      lose(job, attempt, worst);
      if (attempt.outcome != Outcome::temporary || !patience.wait(attempt.retry_after))
        return give_up(job, attempt);
      const std::lock_guard lock(mutex_);
      ++outcome_.retries;
    }
  }

  void wait_for_turn(const Request& request) {
    const double tokens =
        static_cast<double>(request.body.size()) / kBytesPerToken + static_cast<double>(request.answer_bound);
    const double now = seconds_now();
    double start = 0;
    {
      const std::lock_guard lock(mutex_);
      start = pacer_.start(now, tokens);
    }
    net::wait_for(start - now, &end_);
  }

  void keep(const Job& job, const Answer& answer, double worst) {
    const double dollars = cost(options_, answer.prompt_tokens, answer.answer_tokens);
    const std::lock_guard lock(mutex_);
    journal_.answered(answer_line(job, answer, options_, dollars));
    purse_.settle(worst, dollars);
    failed_in_a_row_ = 0;
    ++outcome_.answered;
    outcome_.prompt_tokens += answer.prompt_tokens;
    outcome_.answer_tokens += answer.answer_tokens;
    outcome_.dollars += dollars;
    outcome_.spent = purse_.spent();
    if (settings_.progress) settings_.progress(outcome_);
  }

  void lose(const Job& job, const Attempt& attempt, double worst) {
    const double counted = attempt.may_cost ? worst : 0;
    const std::lock_guard lock(mutex_);
    journal_.failed(job.request.key, counted, attempt.why);
    purse_.settle(worst, counted);
    outcome_.uncertain += counted;
  }

  // A prompt is left out; all are when the fault is no prompt's.
  void give_up(const Job& job, const Attempt& attempt) {
    const std::lock_guard lock(mutex_);
    ++outcome_.failed;
    if (outcome_.failure.empty() || attempt.outcome == Outcome::fatal)
      outcome_.failure =
          attempt.outcome == Outcome::refused ? job.prompt->where + ": " + attempt.why : attempt.why;
    if (attempt.outcome == Outcome::fatal ||
        ++failed_in_a_row_ >= std::max<int64_t>(8, 2 * options_.concurrency))
      end_ = true;
  }

  const AskOptions& options_;
  const AskSettings& settings_;
  Journal& journal_;
  const std::vector<Job> jobs_;
  AskOutcome& outcome_;
  Purse purse_;
  Pacer pacer_;
  const net::RetryPolicy retry_;
  std::mutex mutex_;
  std::atomic<size_t> next_ = 0, ended_ = 0;
  std::atomic<bool> end_ = false;
  int64_t failed_in_a_row_ = 0;
  std::exception_ptr error_;
};

// Filters what the journal has for `jobs`.
void write_dataset(const AskOptions& options, const Journal& journal, const std::vector<Job>& jobs,
                   AskOutcome& outcome) {
  AtomicFile file(outcome.dataset);
  for (const Job& job : jobs) {
    const auto found = journal.answers().find(job.request.key);
    if (found == journal.answers().end()) continue;
    Json line = parse_json(found->second, "journal.jsonl");
    const auto text = [&](const Json& object, const char* key) { return object.value(key, std::string()); };
    for (const Json& flag : line.value("flags", Json::array())) ++outcome.flags[flag.get<std::string>()];
    const std::string content = text(line["response"], "content"), refusal = text(line, "refusal"),
                      reason = text(line, "finish_reason");
    const std::string* reference = job.prompt->reference ? &*job.prompt->reference : nullptr;
    const std::string_view drop = reason_to_drop({content, reason, refusal, reference}, options.filter);
    if (!drop.empty()) {
      ++outcome.dropped[std::string(drop)];
      continue;
    }
    ++outcome.kept;
    Json row = {{"messages", std::move(line["messages"])}};
    row["messages"].push_back(std::move(line["response"]));
    if (reference != nullptr) row["answer"] = *reference;
    row["finish_reason"] = reason;
    row["provenance"] = std::move(line["provenance"]);
    if (line.contains("logprobs")) row["logprobs"] = std::move(line["logprobs"]);
    file.write(to_text(row) + "\n");
  }
  file.commit();
}

}  // namespace

Json AskOutcome::json() const {
  return {{"dataset", dataset.string()},
          {"wanted", wanted},
          {"duplicates", duplicates},
          {"answered_before", known},
          {"answered", answered},
          {"failed", failed},
          {"missing", missing()},
          {"retries", retries},
          {"kept", kept},
          {"dropped", dropped},
          {"flags", flags},
          {"prompt_tokens", prompt_tokens},
          {"answer_tokens", answer_tokens},
          {"api_dollars", dollars},
          {"api_dollars_uncertain", uncertain},
          {"spent_in_all", spent},
          {"capped", capped},
          {"failure", failure}};
}

AskOutcome ask(const AskOptions& options, const fs::path& output, const AskSettings& settings) {
  check_key(settings.access.key);
  AskOutcome outcome;
  const std::vector<Prompt> prompts = read_prompts(options, outcome.duplicates);
  make_directories(output);
  outcome.dataset = output / "dataset.jsonl";
  Journal journal(output / "journal.jsonl");
  std::vector<Job> jobs, open;
  for (int64_t sample = 0; sample < options.samples; ++sample) {
    for (const Prompt& prompt : prompts) {
      jobs.push_back({&prompt, make_request(options, prompt.messages_json, sample)});
      if (!journal.answers().contains(jobs.back().request.key)) open.push_back(jobs.back());
    }
  }
  outcome.wanted = static_cast<int64_t>(jobs.size());
  outcome.known = outcome.wanted - static_cast<int64_t>(open.size());
  outcome.spent = journal.spent();
  if (!open.empty()) Asking(options, settings, journal, std::move(open), outcome).run();
  write_dataset(options, journal, jobs, outcome);
  write_json_file(output / "summary.json", outcome.json());
  return outcome;
}

}  // namespace frugal::remote
