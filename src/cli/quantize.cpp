// frugal quantize MODEL OUT --type T: fewer bits for the weights, with an importance matrix where there is
// text to make one of, and what it costs: size, perplexity and divergence from the original.
#include <unistd.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "cli/conversion.h"
#include "cli/live_line.h"
#include "cli/text_windows.h"
#include "cli/verbs.h"
#include "core/error.h"
#include "eval/divergence.h"
#include "eval/measure_importance.h"

namespace frugal::cli {
namespace {

constexpr std::string_view kPlaceholder = "{type}";

struct QuantizeArguments {
  CommonOptions common;
  std::string model, out, types;
  std::optional<std::string> imatrix, save_imatrix;
  std::vector<std::string> calibrate, report;
  int64_t calibrate_tokens = 32768, report_tokens = 0;
  std::optional<int64_t> context;
};

// One of --type, and the file that becomes of it.
struct Target {
  std::string type;
  const Format* format = nullptr;
  const GgufMix* mix = nullptr;
  fs::path path;
  uint64_t bytes = 0;
  int64_t substituted = 0;
};

// Files of a report that nobody asked to keep.
class Scratch {
 public:
  ~Scratch() {
    std::error_code ignored;
    if (!folder_.empty()) fs::remove_all(folder_, ignored);
  }
  fs::path file(const std::string& name) {
    if (folder_.empty()) {
      folder_ = fs::temp_directory_path() / fmt::format("frugal-quantize-{}", ::getpid());
      make_directories(folder_);
    }
    return folder_ / name;
  }

 private:
  fs::path folder_;
};

std::string known_types() {
  std::string list;
  for (const Format* format : all_formats()) {
    if (format->ggml >= 0 || format == &formats::f8_e4m3)
      list += fmt::format("{}{}", list.empty() ? "" : ", ", format->name);
  }
  for (const GgufMix& mix : all_gguf_mixes()) list += fmt::format(", {}", mix.name);
  return list;
}

std::vector<Target> targets_of(const QuantizeArguments& a, Scratch& scratch) {
  std::vector<Target> targets;
  for (size_t begin = 0; begin <= a.types.size();) {
    const size_t end = std::min(a.types.find(',', begin), a.types.size());
    Target target;
    target.type = a.types.substr(begin, end - begin);
    target.mix = find_gguf_mix(target.type);
    if (target.mix == nullptr) {
      for (const Format* format : all_formats()) {
        if (format->name == target.type) target.format = format;
      }
      if (target.format == nullptr) fail_usage("--type '{}': expected one of {}", target.type, known_types());
    }
    targets.push_back(std::move(target));
    begin = end + 1;
  }
  const size_t at = a.out.find(kPlaceholder);
  if (a.out.empty() && a.report.empty())
    fail_usage("say where to write to: frugal quantize MODEL OUT --type ...");
  if (targets.size() > 1 && !a.out.empty() && at == std::string::npos)
    fail_usage("several types need several names: write {} in OUT, as in small-{}.gguf", kPlaceholder,
               kPlaceholder);
  for (Target& target : targets) {
    std::string name = a.out;
    if (at != std::string::npos) name.replace(at, kPlaceholder.size(), target.type);
    const char* extension = target.format == &formats::f8_e4m3 ? "" : ".gguf";  // GGUF has no FP8
    target.path = a.out.empty() ? scratch.file(target.type + extension) : fs::path(name);
  }
  return targets;
}

class Quantize {
 public:
  Quantize(const QuantizeArguments& a, const Environment& environment)
      : a_(a),
        runtime_(a.common, environment),
        model_(open_model(runtime_, a.model)),
        line_(progress_options(a.common, environment)),
        context_(a.context ? window_length(model_.model->shape(), a.context)
                           : std::min<int64_t>(512, model_.model->shape().max_positions)) {}

  void run() {
    std::vector<Target> targets = targets_of(a_, scratch_);
    const std::optional<Importance> importance = find_importance();
    for (Target& target : targets) write(target, importance ? &*importance : nullptr);
    if (a_.report.empty()) return show(targets, nullptr);
    const Divergences found = compare(targets);
    show(targets, &found);
  }

 private:
  ValidationWindows windows(const std::vector<std::string>& files, int64_t tokens) {
    return text_windows(runtime_, model_, files, context_, tokens);
  }

  std::optional<Importance> find_importance() {
    if (a_.imatrix && !a_.calibrate.empty()) fail_usage("give either --imatrix or --calibrate");
    if (a_.save_imatrix && a_.calibrate.empty()) fail_usage("--save-imatrix keeps what --calibrate measured");
    const auto names = declare_model(model_.directory);  // as Hugging Face lays matrices out
    if (a_.imatrix) return load_importance(*a_.imatrix, *names);
    if (a_.calibrate.empty()) return std::nullopt;
    ValidationWindows text = windows(a_.calibrate, a_.calibrate_tokens);
    Importance out = measure_importance(runtime_.ctx(), *model_.model, text, windows_at_once(context_),
                                        line_.fractions("calibrate"));
    out.texts = a_.calibrate;
    line_.line(fmt::format("importance of the inputs of {} matrices, from {} tokens", out.matrices.size(),
                           out.tokens));
    if (a_.save_imatrix) save_importance(*a_.save_imatrix, out, *names);
    return out;
  }

  void write(Target& target, const Importance* importance) {
    Conversion conversion{target.format, target.mix, importance, [&](const std::string& text) {
                            ++target.substituted;
                            line_.line(fmt::format("{}: {}", target.type, text));
                          }};
    target.bytes = convert_model(runtime_.ctx(), model_.directory, target.path, conversion);
  }

  Divergences compare(const std::vector<Target>& targets) {
    std::vector<std::unique_ptr<Model>> models;
    std::vector<Model*> changed;
    for (const Target& target : targets) {
      models.push_back(load_model(runtime_.ctx(), target.path));
      changed.push_back(models.back().get());
    }
    ValidationWindows text = windows(a_.report, a_.report_tokens);
    return compare_models(runtime_.ctx(), *model_.model, changed, text, windows_at_once(context_),
                          line_.fractions("compare"));
  }

  void show(const std::vector<Target>& targets, const Divergences* found) {
    const auto parameters = static_cast<double>(count_parameters(*model_.model).total);
    Json list = Json::array();
    std::string table = fmt::format("{:<10}{:>12}{:>13}", "type", "size, MB", "bits/weight");
    if (found != nullptr) {
      table += fmt::format("{:>12}{:>11}{:>11}{:>10}\n{:<10}{:>12}{:>13}{:>12.4f}", "perplexity", "KL",
                           "KL 99 %", "same top", "original", "", "", std::exp(found->nats));
    }
    table += "\n";
    for (size_t i = 0; i < targets.size(); ++i) {
      const Target& t = targets[i];
      const double bits = 8 * static_cast<double>(t.bytes) / parameters;
      Json entry = {{"type", t.type}, {"bytes", t.bytes}, {"bits_per_weight", bits}};
      if (!a_.out.empty()) entry["out"] = t.path.string();
      table += fmt::format("{:<10}{:>12.1f}{:>13.2f}", t.type, static_cast<double>(t.bytes) / 1e6, bits);
      if (found != nullptr) {
        const Divergence& d = found->changed[i];
        entry.update({{"ppl", std::exp(d.nats)}, {"kl", d.kl}, {"kl_99", d.kl_99}, {"same_top", d.same_top}});
        table += fmt::format("{:>12.4f}{:>11.5f}{:>11.4f}{:>9.1f}%", std::exp(d.nats), d.kl, d.kl_99,
                             100 * d.same_top);
      }
      table += "\n";
      list.push_back(std::move(entry));
    }
    if (!a_.common.json) return print(table);
    Json result = {{"types", list}};
    if (found != nullptr) {
      result["ppl"] = std::exp(found->nats);
      result["tokens"] = found->changed.front().targets;
      result["context"] = context_;
    }
    print_json(result);
  }

  const QuantizeArguments& a_;
  Runtime runtime_;
  OpenModel model_;
  LiveLine line_;
  Scratch scratch_;
  int64_t context_;
};

}  // namespace

void declare_quantize(Command& command, const Environment& environment) {
  const auto a = std::make_shared<QuantizeArguments>();
  a->common.declare(command);
  command.positional("MODEL", a->model, kModelHelp);
  command.positional(
      "OUT", a->out,
      "A .gguf file, or else a directory in Hugging Face layout; {type} in it becomes the type. May be "
      "left out with --report",
      false);
  command.required_option("--type", a->types, "One or several, with commas between: " + known_types());
  command.option("--calibrate", a->calibrate, "Text to weigh errors by: what the matrices take in on it");
  command.option("--calibrate-tokens", a->calibrate_tokens,
                 "About so many tokens of it, evenly spread; 0: all");
  command.option("--imatrix", a->imatrix,
                 "The same from a file, of --save-imatrix or of llama-imatrix (GGUF)");
  command.option("--save-imatrix", a->save_imatrix, "Keep what --calibrate measured in this file");
  command.option("--report", a->report, "Text to compare with the original on: perplexity and divergence");
  command.option("--report-tokens", a->report_tokens, "About so many tokens of it, evenly spread; 0: all");
  command.option("--context", a->context, "Tokens in a window of either text (default: 512)");
  command.action([a, environment] { Quantize(*a, environment).run(); });
}

}  // namespace frugal::cli
