#include "tune/method.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "tune/problems.h"

namespace frugal {
namespace {

constexpr TuneMethod kMethods[] = {
    {"sft", "learn what the assistant says in examples", make_sft},
    {"dpo", "prefer the chosen of two replies to the rejected one", make_dpo},
    {"grpo", "learn from rewards for the model's own replies", make_grpo},
};

}  // namespace

Json TuneTask::figures() const {
  return Json::object();
}

std::span<const TuneMethod> all_tune_methods() {
  return kMethods;
}

const TuneMethod& find_tune_method(std::string_view name) {
  std::vector<std::string_view> names;
  for (const TuneMethod& method : kMethods) {
    if (method.name == name) return method;
    names.push_back(method.name);
  }
  fail_usage("method = '{}': expected one of {}", name, fmt::join(names, ", "));
}

std::string_view tune_methods_help() {
  static const std::string help = [] {
    std::vector<std::string> parts;
    for (const TuneMethod& method : kMethods)
      parts.push_back(fmt::format("{}: {}", method.name, method.help));
    return fmt::format("{}", fmt::join(parts, "; "));
  }();
  return help;
}

std::vector<TokenSequence> example_sequences(const TuneSetup& setup, bool valid, SoftTargetCounts* counts) {
  const TuneData& data = setup.options.data;
  const std::string_view key = valid ? "data.valid" : "data.train";
  const SequenceBuilder builder(setup.tokenizer, data.parsed_turns());
  const std::vector<Example> examples = data.sums > 0
                                            ? sum_examples(data, setup.seed, valid, builder.has_template())
                                            : read_examples(valid ? data.valid : data.train, key);
  std::vector<TokenSequence> all(examples.size());
  std::vector<SoftTargetCounts> said(examples.size());
  setup.ctx.pool.parallel_for(std::ssize(examples), 8, [&](int64_t begin, int64_t end, int) {
    for (auto i = static_cast<size_t>(begin); i < static_cast<size_t>(end); ++i) {
      const Example& example = examples[i];
      all[i] = builder.build(example);
      if (counts == nullptr || example.logprobs_json.empty()) continue;
      said[i] = attach_logprobs(setup.tokenizer, example.logprobs_json, example.where, all[i]);
    }
  });
  const auto most = static_cast<size_t>(setup.options.train.context);
  const std::string& too_long = data.too_long;
  std::vector<TokenSequence> kept;
  int64_t cut = 0, dropped = 0;
  for (size_t i = 0; i < all.size(); ++i) {
    TokenSequence& sequence = all[i];
    if (sequence.tokens.size() > most) {
      if (too_long == "error") {
        fail("{}: {} tokens, train.context is {}: raise it, or set data.too_long to cut or drop",
             examples[i].where, sequence.tokens.size(), most);
      }
      sequence.cut(most);
      if (too_long == "drop" || sequence.targets() == 0) {
        ++dropped;
        continue;
      }
      ++cut;
    }
    if (counts != nullptr) counts->add(said[i]);
    kept.push_back(std::move(sequence));
  }
  if (kept.empty()) {
    fail("{}: none of the {} examples has something to learn within train.context = {} tokens", key,
         all.size(), most);
  }
  if (setup.note && cut + dropped > 0) {
    setup.note(
        fmt::format("{}: {} of {} examples are longer than train.context = {} tokens: {} cut, {} left out",
                    key, cut + dropped, all.size(), most, cut, dropped));
  }
  return kept;
}

}  // namespace frugal
