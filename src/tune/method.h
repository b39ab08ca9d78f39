// The ways of tuning. A method makes batches of its examples and says what their loss is; loading the model,
// adapters, budget, checkpoints and the bill are the same for all. Adding one: a file in methods/ and a line
// in the list of method.cpp.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string_view>

#include "core/files.h"
#include "core/json.h"
#include "models/model.h"
#include "text/tokenizer.h"
#include "train/batch_source.h"
#include "train/loss.h"
#include "tune/options.h"
#include "tune/soft_targets.h"

namespace frugal {

// What a method works with; all of it outlives the task.
struct TuneSetup {
  Context& ctx;
  const Tokenizer& tokenizer;
  const TuneOptions& options;
  uint64_t seed = 0;
  std::function<void(const std::string&)> note;  // for people: examples that were cut, ...
  fs::path folder;                               // exists; a method may keep files here
  std::string model_key;                         // tells the model to be tuned from others
  std::vector<int32_t> stop_ids;                 // that end a reply, as the model's files say
  std::function<std::unique_ptr<Model>()> open;  // the model to be tuned once more, to read only
  std::function<void()> check_stop;              // Interrupted when the user wants to stop; may be empty
};

class TuneTask {
 public:
  virtual ~TuneTask() = default;
  // Bytes that the method takes beside training itself.
  virtual int64_t further_bytes(const Model&) const { return 0; }
  // Before the first batch: the model to be tuned, as it begins, its adapters beside it (a run that goes on
  // reads its checkpoint afterwards). It outlives the task.
  virtual void begin(Model&) {}
  virtual BatchSource& batches() = 0;
  virtual Objective objective() = 0;
  // What validate() measures ("nats per target"), and how many tokens it reads; 0: there is nothing to
  // validate on.
  virtual std::string_view measured() const = 0;
  virtual int64_t validation_tokens() const = 0;
  virtual double validate(Context& ctx, Model& model) = 0;
  // Ids that end a reply in the examples, beside those the model knows.
  virtual std::vector<int32_t> end_ids() const { return {}; }
  // What the latest batch says besides its loss, by a name for people ("reward"): numbers, for log and
  // report.
  virtual Json figures() const;
  // What was computed since the last call, besides the batches' way forward and back.
  virtual Work take_work() { return {}; }
  // For the stage's result: examples, tokens, ...
  virtual Json summary() const = 0;
};

struct TuneMethod {
  std::string_view name, help;
  std::unique_ptr<TuneTask> (*create)(const TuneSetup& setup);
};
std::span<const TuneMethod> all_tune_methods();
// UsageError that lists the known names.
const TuneMethod& find_tune_method(std::string_view name);
// "sft (learn from examples), ...", for the recipe's help.
std::string_view tune_methods_help();

// The examples to learn, or those for validation, as sequences of at most train.context tokens, what is
// longer treated as data.too_long says. With `counts`, log-probabilities of a remote teacher stand beside
// them.
std::vector<TokenSequence> example_sequences(const TuneSetup& setup, bool valid,
                                             SoftTargetCounts* counts = nullptr);

// The entries of the list.
std::unique_ptr<TuneTask> make_sft(const TuneSetup& setup);
std::unique_ptr<TuneTask> make_dpo(const TuneSetup& setup);
std::unique_ptr<TuneTask> make_grpo(const TuneSetup& setup);

}  // namespace frugal
