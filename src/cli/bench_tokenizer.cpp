// frugal bench tokenizer MODEL FILES: how fast text becomes tokens, on one core and on all.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "cli/open_model.h"
#include "cli/verbs.h"
#include "core/error.h"
#include "data/source.h"
#include "meter/process.h"
#include "meter/units.h"

namespace frugal::cli {
namespace {

struct TokenizerBench {
  CommonOptions common;
  std::string model;
  std::vector<std::string> files;
  int64_t repeat = 3;
};

// Every text encoded as a document of training is; returns how many tokens they are.
int64_t encode_all(Context& ctx, const Tokenizer& tokenizer, const std::vector<std::string>& texts) {
  std::vector<int64_t> counts(static_cast<size_t>(ctx.pool.size()));
  ctx.pool.parallel_for(std::ssize(texts), 1, [&](int64_t begin, int64_t end, int worker) {
    std::vector<int32_t> ids;
    for (int64_t i = begin; i < end; ++i) {
      ids.clear();
      tokenizer.encode(texts[static_cast<size_t>(i)], {}, ids);
      counts[static_cast<size_t>(worker)] += std::ssize(ids);
    }
  });
  int64_t total = 0;
  for (const int64_t count : counts) total += count;
  return total;
}

void bench(const TokenizerBench& a, const Environment& environment) {
  if (a.repeat < 1) fail_usage("--repeat {}: at least one round is timed", a.repeat);
  Runtime runtime(a.common, environment);
  const Tokenizer tokenizer = open_tokenizer(a.model, environment);
  std::vector<std::string> texts;
  int64_t bytes = 0;
  for_each_document(expand_patterns(a.files, "FILES"), {}, [&](const Document& document) {
    texts.push_back(document.text);
    for (const ChatMessage& message : document.messages) texts.back() += message.content + "\n";
    bytes += std::ssize(texts.back());
    return true;
  });
  std::vector<double> seconds;
  int64_t tokens = 0;
  for (int64_t round = 0; round < a.repeat; ++round) {
    const double start = steady_seconds();
    tokens = encode_all(runtime.ctx(), tokenizer, texts);
    seconds.push_back(steady_seconds() - start);
  }
  std::ranges::sort(seconds);
  const double median = std::max(seconds[seconds.size() / 2], 1e-9);
  const double speed = static_cast<double>(bytes) / median, tok_s = static_cast<double>(tokens) / median;
  const int threads = runtime.ctx().pool.size();
  if (a.common.json) {
    return print_json({{"bytes", bytes},
                       {"tokens", tokens},
                       {"documents", texts.size()},
                       {"seconds", median},
                       {"bytes_per_second", speed},
                       {"tok_s", tok_s},
                       {"threads", threads}});
  }
  print(fmt::format("{} in {} tokens: {}/s, {} ({} thread{})\n",
                    format_quantity(static_cast<double>(bytes), "B"), tokens, format_quantity(speed, "B"),
                    format_quantity(tok_s, "tok/s"), threads, threads == 1 ? "" : "s"));
}

}  // namespace

void declare_bench_tokenizer(Command& command, const Environment& environment) {
  const auto a = std::make_shared<TokenizerBench>();
  Command sub = command.subcommand("tokenizer", "Text to token ids, in memory");
  a->common.declare(sub);
  sub.positional("MODEL", a->model, kTokenizerHelp);
  sub.positional("FILES", a->files, "Text: .txt or .jsonl, also .gz and .zst; folders and globs");
  sub.option("--repeat", a->repeat, "Rounds; the median is reported");
  sub.action([a, environment] { bench(*a, environment); });
}

}  // namespace frugal::cli
