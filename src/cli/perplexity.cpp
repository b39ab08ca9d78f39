// frugal perplexity MODEL FILE: how well a model predicts a text. Documents are framed as in training (BOS
// text EOS) and joined; disjoint windows cover all of it; EOS counts in the loss, not in the bytes.
#include <cmath>
#include <nlohmann/json.hpp>

#include "cli/open_model.h"
#include "cli/verbs.h"
#include "core/error.h"
#include "data/source.h"
#include "data/windows.h"
#include "train/evaluate.h"

namespace frugal::cli {
namespace {

struct PerplexityArguments {
  CommonOptions common;
  std::string model;
  std::vector<std::string> files;
  std::optional<int64_t> context;
  std::string compute = "exact";
};

TokenSet tokenize(const std::vector<std::string>& patterns, const Tokenizer& tokenizer, ThreadPool& pool) {
  std::vector<Document> documents;
  for_each_document(expand_patterns(patterns, "FILE"), {}, [&](const Document& document) {
    if (!document.messages.empty())
      fail("{} holds conversations; perplexity is measured on text", patterns.front());
    documents.push_back(document);
    return true;
  });
  std::vector<std::vector<int32_t>> ids(documents.size());
  pool.parallel_for(std::ssize(documents), 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) {
      ids[static_cast<size_t>(i)] = tokenizer.encode(documents[static_cast<size_t>(i)].text);
    }
  });
  std::vector<int64_t> bytes;
  for (const Document& document : documents) bytes.push_back(document.bytes());
  return TokenSet::from_memory(ids, std::move(bytes));
}

void perplexity(const PerplexityArguments& a, const Environment& environment) {
  Runtime runtime(a.common, environment);
  runtime.ctx().compute = parse_compute(a.compute);
  const OpenModel model = open_model(runtime, a.model);
  const ModelShape shape = model.model->shape();
  constexpr int64_t kUsual = 2048, kRowsAtOnce = 2048;
  const int64_t context = a.context.value_or(std::min(kUsual, shape.max_positions));
  if (context < 1 || context > shape.max_positions) {
    fail_usage("--context {}: this model was made for 1 to {}", context, shape.max_positions);
  }
  if (model.tokenizer.vocab_size() > shape.vocab_size) {
    fail("{}: the tokenizer has {} ids and the model {}", a.model, model.tokenizer.vocab_size(),
         shape.vocab_size);
  }
  WindowOptions options;
  options.framing = {.bos_id = model.tokenizer.bos_id().value_or(-1),
                     .eos_id = model.tokenizer.eos_id().value_or(-1)};
  options.length = context;
  ValidationWindows windows(tokenize(a.files, model.tokenizer, runtime.ctx().pool), options);
  const Validation result =
      validate(runtime.ctx(), *model.model, windows, std::max<int64_t>(1, kRowsAtOnce / context));
  if (a.common.json) {
    return print_json({{"ppl", std::exp(result.loss)},
                       {"nll", result.loss},
                       {"tokens", result.targets},
                       {"bits_per_byte", result.bits_per_byte},
                       {"bytes", result.bytes},
                       {"context", context}});
  }
  print(
      fmt::format("perplexity     {:.4f}\nnats per token {:.4f}\nbits per byte  {:.4f}\ntokens         {}\n",
                  std::exp(result.loss), result.loss, result.bits_per_byte, result.targets));
}

}  // namespace

void declare_perplexity(Command& command, const Environment& environment) {
  const auto a = std::make_shared<PerplexityArguments>();
  a->common.declare(command);
  command.positional("MODEL", a->model,
                     "A directory in Hugging Face layout, a run directory or a .gguf file");
  command.positional("FILE", a->files, "Text: .txt or .jsonl, also .gz and .zst; folders and globs");
  command.option("--context", a->context,
                 "Tokens in a window (default: the model's longest context, at most 2048)");
  command.option("--compute", a->compute, kComputeHelp);
  command.action([a, environment] { perplexity(*a, environment); });
}

}  // namespace frugal::cli
