// frugal perplexity MODEL FILE: how well a model predicts a text. Documents are framed as in training (BOS
// text EOS) and joined; disjoint windows cover all of it; EOS counts in the loss, not in the bytes.
#include <cmath>
#include <nlohmann/json.hpp>

#include "cli/open_model.h"
#include "cli/profile_report.h"
#include "cli/text_windows.h"
#include "cli/verbs.h"
#include "core/error.h"
#include "train/evaluate.h"

namespace frugal::cli {
namespace {

struct PerplexityArguments {
  CommonOptions common;
  std::string model;
  std::vector<std::string> files;
  std::optional<int64_t> context;
  std::string compute = "exact";
  std::optional<std::string> adapter;
  std::optional<std::string> kv_format;
  ProfileFlag profile;
};

void perplexity(PerplexityArguments& a, const Environment& environment) {
  Runtime runtime(a.common, environment);
  runtime.ctx().compute = parse_compute(a.compute);
  const OpenModel model = open_model(runtime, a.model, a.adapter);
  const ModelShape shape = model.model->shape();
  const int64_t context = window_length(shape, a.context);
  ValidationWindows windows = text_windows(runtime, model, a.files, context);
  const int64_t rows = windows_at_once(context);
  std::optional<Cache> cache;  // else attention sees keys and values as they were computed
  if (a.kv_format) {
    cache.emplace(runtime.ctx(), model.model->cache_layers(), static_cast<int>(rows), context,
                  kv_format(runtime.ctx().compute, a.kv_format));
  }
  a.profile.start(runtime.ctx());
  const Validation result = validate(runtime.ctx(), *model.model, windows, rows, cache ? &*cache : nullptr);
  if (a.common.json) {
    Json report{{"ppl", std::exp(result.loss)},          {"nll", result.loss},    {"tokens", result.targets},
                {"bits_per_byte", result.bits_per_byte}, {"bytes", result.bytes}, {"context", context}};
    a.profile.finish(runtime.ctx(), a.common, &report);
    return print_json(report);
  }
  print(
      fmt::format("perplexity     {:.4f}\nnats per token {:.4f}\nbits per byte  {:.4f}\ntokens         {}\n",
                  std::exp(result.loss), result.loss, result.bits_per_byte, result.targets));
  a.profile.finish(runtime.ctx(), a.common);
}

}  // namespace

void declare_perplexity(Command& command, const Environment& environment) {
  const auto a = std::make_shared<PerplexityArguments>();
  a->common.declare(command);
  command.positional("MODEL", a->model, kModelHelp);
  declare_adapter(command, a->adapter);
  command.positional("FILE", a->files, "Text: .txt or .jsonl, also .gz and .zst; folders and globs");
  command.option("--context", a->context,
                 "Tokens in a window (default: the model's longest context, at most 2048)");
  command.option("--compute", a->compute, kComputeHelp);
  command.option("--kv-format", a->kv_format,
                 "Let attention read keys and values as f32, bf16 or q8_0 (default: as they were computed)");
  a->profile.declare(command);
  command.action([a, environment] { perplexity(*a, environment); });
}

}  // namespace frugal::cli
