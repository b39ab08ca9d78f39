#include "pipeline/stages.h"

#include <array>

#include "core/error.h"
#include "core/interrupted.h"
#include "data/hash.h"
#include "io/gguf_tokenizer.h"
#include "io/model_files.h"
#include "meter/units.h"
#include "text/chat_template.h"

namespace frugal {

std::span<const Stage* const> all_stages() {
  static constexpr std::array<const Stage*, 9> list = {&kCorpusStage,  &kTokenizerStage, &kDataStage,
                                                       &kTeacherStage, &kPretrainStage,  &kEvaluateStage,
                                                       &kSamplesStage, &kTuneStage,      &kExamStage};
  return list;
}

std::string count_of(double count, std::string_view noun) {
  std::string text = format_quantity(count, "");
  text.erase(text.find_last_not_of(' ') + 1);
  return fmt::format("{} {}", text, noun);
}

std::string hash_of(const std::vector<std::string>& parts) {
  Hasher128 hasher;
  for (const std::string& part : parts) hasher.update_framed(part);
  return hasher.finish().hex();
}

std::string hash_files(const std::vector<std::string>& files) {
  Hasher128 hasher;
  for (const std::string& name : files) {
    const MappedFile file(name);
    hasher.update_framed(name);
    hasher.update_framed(file.text());
  }
  return hasher.finish().hex();
}

DataOptions Run::data_options() const {
  DataOptions options = recipe.data;
  if (recipe.data.is_synthetic()) {
    options.train = {(corpus() / "train.jsonl").string()};
    if (options.valid.empty()) options.valid = {(corpus() / "valid.jsonl").string()};
  }
  return options;
}

TuneOptions Run::tune_options() const {
  TuneOptions options = recipe.tune;
  if (is_synthetic(options.data)) {
    options.data.train = {(corpus() / "practice.jsonl").string()};
    if (options.data.valid.empty()) options.data.valid = {(corpus() / "practice_valid.jsonl").string()};
  }
  return options;
}

fs::path Run::tokenizer_path() const {
  if (!recipe.tokenizer.path.empty()) return recipe.tokenizer.path;
  if (!recipe.init.empty()) return find_model(recipe.init);
  const bool of_teacher = recipe.distill.wanted() && !recipe.distill.crosses();
  return of_teacher ? find_model(recipe.distill.teacher) : shared.path() / "tokenizer";
}

const Tokenizer& Run::tokenizer() {
  if (!tokenizer_) tokenizer_ = load_tokenizer(tokenizer_path());
  return *tokenizer_;
}

const PreparedData& Run::data() {
  if (data_) return *data_;
  const Tokenizer tokens = tokenizer();
  Tokenization tokenization;
  tokenization.encode = [tokens](std::string_view text, std::vector<int32_t>& out) {
    tokens.encode(text, {}, out);
  };
  if (!tokens.chat_template().empty()) {
    tokenization.encode_chat = [tokens](const std::vector<ChatMessage>& messages, std::vector<int32_t>& out) {
      const std::vector<int32_t> ids = render_chat(tokens, messages, false);
      out.insert(out.end(), ids.begin(), ids.end());
    };
  }
  tokenization.framing = {tokens.bos_id().value_or(-1), tokens.eos_id().value_or(-1)};
  tokenization.vocab_size = tokens.vocab_size();
  tokenization.hash = fmt::format("{:016x}", tokens.fingerprint());
  const fs::path cache = settings.cache.empty() ? shared.path() / "cache" : settings.cache;
  data_ =
      prepare_data(data_options(), tokenization, cache, settings.ctx.pool, [&](int64_t done, int64_t total) {
        check_stop();
        progress("data", total > 0 ? static_cast<double>(done) / static_cast<double>(total) : 0);
      });
  return *data_;
}

Json Run::result(std::string_view stage_name) const {
  const StageRecord* found = directory.find(stage_name);
  for (const Stage* each : all_stages()) {
    if (found == nullptr && each->shared && each->name == stage_name) found = shared.find(stage_name);
  }
  return found != nullptr && found->done ? found->result : Json::object();
}

void Run::count(const Work& work) const {
  if (meter == nullptr) return;
  meter->add_flops(work.flops);
  meter->add_bytes(work.bytes);
}

void Run::progress(std::string_view name, double fraction, const StepRecord* step) const {
  if (stage == nullptr) return;  // an earlier stage's product is being read back
  settings.observer.progress({name, fraction, step, stage->bill()});
}

void Run::check_stop() const {
  if (settings.stop != nullptr && *settings.stop) throw Interrupted("stopped");
}

}  // namespace frugal
