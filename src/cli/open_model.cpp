#include "cli/open_model.h"

#include <algorithm>
#include <random>

#include "cli/model_store.h"
#include "core/error.h"
#include "hub/store.h"
#include "io/gguf_tokenizer.h"
#include "io/peft.h"

namespace frugal::cli {

fs::path find_model(const std::string& name, const Environment& environment) {
  const std::string found = pulled_or_same(name, environment);
  if (fs::exists(found)) return frugal::find_model(found);
  std::vector<std::string> names;
  const fs::path store = model_store(environment);
  if (!store.empty()) {
    for (const hub::Pulled& model : hub::list_store(store)) names.push_back(model.name);
  }
  const std::string_view near = nearest_name(name, names);
  const std::string hint = near.empty() ? "" : fmt::format(" (did you mean '{}'?)", near);
  fail(
      "{}: no such model: expected a directory in Hugging Face layout, a .gguf file, or the name of a model "
      "that "
      "'frugal pull' fetched{}",
      name, hint);
}

std::string pulled_or_same(const std::string& name, const Environment& environment) {
  const fs::path store = model_store(environment);
  if (name.empty() || fs::exists(name) || store.empty()) return name;
  const fs::path found = hub::find_in_store(store, name);
  return found.empty() ? name : found.string();
}

OpenModel open_model(Runtime& runtime, const std::string& name, const std::optional<std::string>& adapter) {
  const fs::path directory = find_model(name, runtime.environment());
  return {directory, open_weights(runtime, name, adapter), load_tokenizer(directory),
          read_generation_config(directory)};
}

void declare_adapter(Command& command, std::optional<std::string>& adapter) {
  command.option("--adapter", adapter,
                 "Use this LoRA adapter (PEFT's layout, or a run of frugal tune) beside the model");
}

std::unique_ptr<Model> open_weights(Runtime& runtime, const std::string& name,
                                    const std::optional<std::string>& adapter) {
  const fs::path directory = find_model(name, runtime.environment());
  return adapter ? load_model_with_adapter(runtime.ctx(), directory, find_adapter(*adapter))
                 : load_model(runtime.ctx(), directory);
}

Tokenizer open_tokenizer(const std::string& name, const Environment& environment) {
  const fs::path path(pulled_or_same(name, environment));
  if (fs::is_directory(path) && !fs::exists(path / "tokenizer.json"))
    return load_tokenizer(frugal::find_model(path.string()));
  return load_tokenizer(path);
}

void SamplingFlags::declare(Command& command) {
  command.option("--temp", temperature,
                 "Temperature; 0 always takes the most likely token (default: the model's, or 0.8)");
  command.option("--top-k", top_k, "Choose among the k most likely tokens; 0: all");
  command.option("--top-p", top_p,
                 "Choose among the most likely tokens that together reach this probability");
  command.option("--min-p", min_p,
                 "Choose among tokens at least this likely, relative to the most likely one");
  command.option("--repetition-penalty", repetition_penalty,
                 "Above 1: tokens already in the text become less likely");
  command.option("--seed", seed, "Of the random choice (default: a new one every time)");
  command.option("--stop", stop, "End the reply at this text, which is not shown; may be repeated");
  command.option("--context", context, "Tokens of context, prompt and reply (default: as needed)");
  command.option("--compute", compute, kComputeHelp);
  declare_kv_format(command, kv_format);
  draft.declare(command, DraftKind::lookup);
}

SamplingOptions SamplingFlags::options(const GenerationConfig& wishes) const {
  constexpr double kTemperature = 0.8;
  SamplingOptions options;
  const bool greedy = wishes.do_sample && !*wishes.do_sample && !wishes.temperature;
  options.temperature = temperature.value_or(greedy ? 0 : wishes.temperature.value_or(kTemperature));
  options.top_k = top_k.value_or(wishes.top_k.value_or(0));
  options.top_p = top_p.value_or(wishes.top_p.value_or(1));
  options.min_p = min_p.value_or(wishes.min_p.value_or(0));
  options.repetition_penalty = repetition_penalty.value_or(wishes.repetition_penalty.value_or(1));
  options.seed = seed ? *seed : static_cast<int64_t>(std::random_device{}());
  options.check();
  return options;
}

Compute parse_compute(const std::string& text) {
  if (text == "fast") return Compute::fast;
  if (text == "exact") return Compute::exact;
  fail_usage("--compute {}: expected fast or exact", text);
}

const Format& kv_format(Compute compute, const std::optional<std::string>& name) {
  if (!name) return compute == Compute::exact ? formats::f32 : formats::bf16;
  for (const Format* format : {&formats::f32, &formats::bf16, &formats::q8_0}) {
    if (*name == format->name) return *format;
  }
  fail_usage("--kv-format {}: expected f32, bf16 or q8_0", *name);
}

void declare_kv_format(Command& command, std::optional<std::string>& name) {
  command.option("--kv-format", name,
                 "Keep keys and values as f32, bf16 or q8_0 (default: bf16; f32 if exact)");
}

void DraftFlags::declare(Command& command, DraftKind usual) {
  usual_ = usual;
  command.option(
      "--draft", kind,
      fmt::format("Guess the next tokens and check several at once: lookup (what followed the same words "
                  "before), mtp (the model's own) or off; the reply stays the same (default: {})",
                  to_string(usual)));
  command.option("--draft-max", longest, "Tokens in a guess, at most");
}

DraftOptions DraftFlags::options() const {
  return {kind ? parse_draft_kind(*kind) : usual_, longest};
}

std::vector<int32_t> stop_ids(const OpenModel& model) {
  std::vector<int32_t> ids;
  const auto add = [&](int64_t id) {
    if (id < 0 || id >= model.model->shape().vocab_size) return;
    if (std::ranges::find(ids, static_cast<int32_t>(id)) == ids.end())
      ids.push_back(static_cast<int32_t>(id));
  };
  for (const int64_t id : model.generation.eos_token_id) add(id);
  if (const auto eos = model.tokenizer.eos_id()) add(*eos);
  return ids;
}

}  // namespace frugal::cli
