// A byte-level BPE tokenizer learned from the training text, or the given one checked.
#include <fmt/core.h>

#include "core/error.h"
#include "data/source.h"
#include "io/gguf_model.h"
#include "io/gguf_tokenizer.h"
#include "io/model_files.h"
#include "pipeline/stages.h"
#include "text/bpe_trainer.h"

namespace frugal {
namespace {

bool is_trained(const Run& run) {
  const Recipe& recipe = run.recipe;
  const bool of_teacher = recipe.distill.wanted() && !recipe.distill.crosses();
  return recipe.init.empty() && recipe.tokenizer.path.empty() && !of_teacher;
}

std::vector<std::string> train_files(const Run& run) {
  return expand_patterns(run.data_options().train, "data.train");
}

std::string inputs(Run& run) {
  if (!is_trained(run)) return hash_of({"given", fmt::format("{:016x}", run.tokenizer().fingerprint())});
  const DataOptions options = run.data_options();
  return hash_of({"trained", hash_files(train_files(run)), std::to_string(wanted_vocabulary(run.recipe)),
                  std::to_string(run.recipe.tokenizer.max_bytes), options.invalid_utf8,
                  std::to_string(options.section_bytes)});
}

Tokenizer train(Run& run) {
  const DataOptions options = run.data_options();
  BpeOptions bpe;
  bpe.vocab_size = wanted_vocabulary(run.recipe);
  BpeTrainer trainer(bpe, run.settings.ctx.pool);
  const ReadOptions reading{parse_invalid_utf8(options.invalid_utf8, "data.invalid_utf8"),
                            options.section_bytes};
  const int64_t most = run.recipe.tokenizer.max_bytes;
  for_each_document(train_files(run), reading, [&](const Document& document) {
    run.check_stop();
    if (document.blank()) return true;
    if (!document.text.empty()) trainer.add(document.text);
    for (const ChatMessage& message : document.messages) trainer.add(message.content);
    return trainer.bytes() < most;
  });
  return trainer.train();
}

// A model without a tokenizer may be given one, but its ids mean what its own tokenizer says.
void check_given(Run& run) {
  const Recipe& recipe = run.recipe;
  if (recipe.init.empty() || recipe.tokenizer.path.empty()) return;
  const fs::path model = find_model(recipe.init);
  if (!is_gguf(model) && !fs::exists(model / "tokenizer.json")) return;
  if (load_tokenizer(model).fingerprint() != run.tokenizer().fingerprint()) {
    fail_usage(
        "init '{}' has a tokenizer of its own, other than tokenizer.path '{}': leave tokenizer.path out",
        recipe.init, recipe.tokenizer.path);
  }
}

Json work(Run& run) {
  check_given(run);
  if (is_trained(run)) train(run).save(run.tokenizer_path());
  const Tokenizer& tokenizer = run.tokenizer();
  if (!tokenizer.bos_id() && !tokenizer.eos_id()) {
    fail("{}: the tokenizer names neither a BOS nor an EOS token, so documents cannot be told apart",
         run.tokenizer_path().string());
  }
  return Json{{"trained", is_trained(run)},
              {"vocab_size", tokenizer.vocab_size()},
              {"fingerprint", fmt::format("{:016x}", tokenizer.fingerprint())}};
}

std::string summary(const Json& result) {
  return fmt::format("{} tokens", result.value("vocab_size", int64_t{0}));
}

}  // namespace

const Stage kTokenizerStage = {"tokenizer",
                               "learning a tokenizer",
                               true,
                               false,
                               [](const Run& run) { return !run.recipe.tune_only; },
                               inputs,
                               work,
                               summary};

}  // namespace frugal
