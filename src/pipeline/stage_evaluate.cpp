// What the trained model knows: bits per byte as the training ended, and held-out questions answered greedily
// by the model as it lies on disk; the same questions once more when it was tuned.
#include <fmt/core.h>

#include <cmath>
#include <map>

#include "data/synthetic.h"
#include "infer/engine.h"
#include "io/model_files.h"
#include "pipeline/stages.h"

namespace frugal {
namespace {

constexpr size_t kExamples = 4;  // of each kind, shown in the report

std::string inputs(Run& run) {
  return hash_of({run.directory.find("pretrain")->inputs, to_text(run.result("pretrain")),
                  std::to_string(run.recipe.eval.answer_tokens),
                  run.recipe.data.is_synthetic() ? "questions" : "",
                  to_text(write_fields(run.recipe.data.synthetic))});
}

bool has_questions(const Run& run) {
  return run.recipe.data.is_synthetic() && run.recipe.data.synthetic.questions > 0;
}

// Answers until the end of a line. BOS stands before the question, as before every document in training.
class Answerer {
 public:
  Answerer(Run& run, const fs::path& model)
      : tokenizer_(run.tokenizer()),
        most_(run.recipe.eval.answer_tokens),
        model_(load_model(run.settings.ctx, model)),
        engine_(run.settings.ctx, *model_, {}) {}

  std::string answer(const std::string& prompt) {
    GenerationRequest request;
    if (tokenizer_.bos_id()) request.prompt.push_back(*tokenizer_.bos_id());
    tokenizer_.encode(prompt, {}, request.prompt);
    request.max_tokens = most_;
    request.sampling.temperature = 0;
    if (tokenizer_.eos_id()) request.stop_ids.push_back(*tokenizer_.eos_id());
    std::string text;
    const Generation generation = engine_.generate(request, [&](int32_t id) {
      text += tokenizer_.token_bytes(id);
      return text.find('\n') == std::string::npos;
    });
    const auto reply = static_cast<int64_t>(generation.ids.size());
    tokens += generation.prompt_tokens + reply;
    const Work one = generation_work(*model_, engine_.cache().format(), generation.prompt_tokens, reply);
    work.flops += one.flops;
    work.bytes += one.bytes;
    return text.substr(0, text.find('\n'));
  }

  int64_t tokens = 0;  // read and written
  Work work;

 private:
  const Tokenizer& tokenizer_;
  int64_t most_;
  std::unique_ptr<Model> model_;
  Engine engine_;
};

Json ask(Run& run, const fs::path& model) {
  const std::vector<Question> questions = read_questions(run.corpus() / "questions.jsonl");
  Answerer answerer(run, model);
  struct Score {
    int64_t correct = 0, total = 0;
  };
  std::map<std::string, Score> kinds;
  Json examples = Json::array();
  Score all;
  for (const Question& question : questions) {
    run.check_stop();
    const std::string answer = answerer.answer(question.prompt);
    const bool correct = is_correct(question, answer);
    Score& score = kinds[question.kind];
    if (score.total < static_cast<int64_t>(kExamples)) {
      examples.push_back({{"question", question.question},
                          {"answer", answer.substr(answer.find_first_not_of(' ') == std::string::npos
                                                       ? 0
                                                       : answer.find_first_not_of(' '))},
                          {"expected", question.answer},
                          {"correct", correct}});
    }
    score.correct += correct;
    ++score.total;
    all.correct += correct;
    ++all.total;
    run.progress(run.record.name, static_cast<double>(all.total) / static_cast<double>(questions.size()));
  }
  run.meter->add_tokens(answerer.tokens);
  run.count(answerer.work);
  Json list = Json::array();
  for (const auto& [kind, score] : kinds) {
    list.push_back({{"kind", kind}, {"correct", score.correct}, {"total", score.total}});
  }
  return {{"correct", all.correct},
          {"total", all.total},
          {"kinds", std::move(list)},
          {"examples", std::move(examples)}};
}

Json work(Run& run) {
  Json result = Json::object();
  const Json pretrain = run.result("pretrain");
  if (pretrain.contains("validation")) {
    const Json& validation = pretrain["validation"];
    result["val_bits_per_byte"] = validation["bits_per_byte"];
    result["val_loss"] = validation["loss"];
    result["perplexity"] = std::exp(validation["loss"].get<double>());
    result["val_tokens"] = validation["targets"];
    result["val_bytes"] = validation["bytes"];
  }
  if (has_questions(run)) result["questions"] = ask(run, run.directory.path() / "model");
  return result;
}

std::string exam_inputs(Run& run) {
  return hash_of({run.directory.find("tune")->inputs, to_text(run.result("tune")),
                  std::to_string(run.recipe.eval.answer_tokens),
                  to_text(write_fields(run.recipe.data.synthetic))});
}

Json exam(Run& run) {
  return {{"questions", ask(run, find_model((run.directory.path() / "tune").string()))}};
}

std::string summary(const Json& result) {
  std::string text;
  if (result.contains("val_bits_per_byte")) {
    text = fmt::format("{:.3f} bits per byte", result["val_bits_per_byte"].get<double>());
  }
  if (result.contains("questions")) {
    const double correct = result["questions"]["correct"].get<double>(),
                 total = result["questions"]["total"].get<double>();
    text += fmt::format("{}{:.0f} of {:.0f} held-out questions answered", text.empty() ? "" : ", ", correct,
                        total);
  }
  return text;
}

}  // namespace

const Stage kEvaluateStage = {
    "evaluate",
    "asking held-out questions",
    false,
    false,
    [](const Run& run) { return (run.settings.verb == "run" || run.settings.verb == "distill"); },
    inputs,
    work,
    summary};

const Stage kExamStage = {"exam",
                          "asking the tuned model the same questions",
                          false,
                          false,
                          [](const Run& run) {
                            return !run.recipe.tune_only && has_questions(run) && kTuneStage.wanted(run) &&
                                   (run.settings.verb == "run" || run.settings.verb == "distill");
                          },
                          exam_inputs,
                          exam,
                          summary};

}  // namespace frugal
