// A few texts written by the trained model, for people to judge.
#include <fmt/core.h>

#include "infer/engine.h"
#include "io/model_files.h"
#include "pipeline/stages.h"

namespace frugal {
namespace {

constexpr int64_t kPromptTokens = 12;  // taken from a validation document

std::string inputs(Run& run) {
  return hash_of({run.directory.find("pretrain")->inputs, to_text(run.result("pretrain")),
                  to_text(write_fields(run.recipe.samples)), std::to_string(run.seed)});
}

// The beginnings of validation documents, evenly spread.
std::vector<std::string> prompts_of(Run& run) {
  const SamplesTable& table = run.recipe.samples;
  if (!table.prompts.empty()) return table.prompts;
  std::vector<std::string> prompts;
  const TokenSet& valid = run.data().valid;
  const int64_t count = std::min(table.count, valid.documents());
  for (int64_t i = 0; i < count; ++i) {
    const int64_t document = (2 * i + 1) * valid.documents() / (2 * count);
    std::vector<int32_t> ids(std::min(kPromptTokens, valid.document_tokens(document)));
    valid.copy(document, 0, static_cast<int64_t>(ids.size()), ids.data());
    StreamDecoder decoder(run.tokenizer());  // leaves out the half of a character at the end
    std::string prompt;
    for (const int32_t id : ids) prompt += decoder.push(id);
    prompts.push_back(prompt);
  }
  if (prompts.empty()) prompts.push_back("The");
  return prompts;
}

Json work(Run& run) {
  const SamplesTable& table = run.recipe.samples;
  const std::vector<std::string> prompts = prompts_of(run);
  const Tokenizer& tokenizer = run.tokenizer();
  const std::unique_ptr<Model> model = load_model(run.settings.ctx, run.directory.path() / "model");
  Engine engine(run.settings.ctx, *model, {});
  Json list = Json::array();
  for (const std::string& prompt : prompts) {
    run.check_stop();
    GenerationRequest request;
    if (tokenizer.bos_id()) request.prompt.push_back(*tokenizer.bos_id());
    tokenizer.encode(prompt, {.parse_special = true}, request.prompt);
    request.max_tokens = table.tokens;
    request.sampling.temperature = table.temperature;
    request.sampling.min_p = table.min_p;
    request.sampling.seed = run.seed;
    if (tokenizer.eos_id()) request.stop_ids.push_back(*tokenizer.eos_id());
    StreamDecoder decoder(tokenizer);
    std::string text;
    const Generation generation = engine.generate(request, [&](int32_t id) {
      if (id < tokenizer.vocab_size()) text += decoder.push(id);  // a teacher's vocabulary may be padded
      return true;
    });
    run.count(generation_work(*model, engine.cache().format(), generation.prompt_tokens,
                              std::ssize(generation.ids)));
    run.meter->add_tokens(generation.prompt_tokens + static_cast<int64_t>(generation.ids.size()));
    list.push_back({{"prompt", prompt}, {"text", text + decoder.finish()}});
    run.progress("samples", static_cast<double>(list.size()) / static_cast<double>(prompts.size()));
  }
  return {{"temperature", table.temperature}, {"samples", std::move(list)}};
}

std::string summary(const Json& result) {
  return result.contains("samples") ? fmt::format("{} texts", result["samples"].size()) : "";
}

}  // namespace

const Stage kSamplesStage = {
    "samples",
    "writing samples",
    false,
    false,
    [](const Run& run) { return (run.settings.verb == "run" || run.settings.verb == "distill"); },
    inputs,
    work,
    summary};

}  // namespace frugal
