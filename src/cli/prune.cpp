// frugal prune MODEL --text FILE --layers N ... -o OUT: a smaller model made of the parts of another that
// matter most on a text, and what that costs before it is healed by distillation.
#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "cli/live_line.h"
#include "cli/text_windows.h"
#include "cli/verbs.h"
#include "core/error.h"
#include "io/gguf_model.h"
#include "io/gguf_tokenizer.h"
#include "prune/prune.h"
#include "train/evaluate.h"

namespace frugal::cli {
namespace {

constexpr std::string_view kReportFile = "prune.json";

struct PruneArguments {
  CommonOptions common;
  std::string model, out, depth_by = "influence";
  std::optional<std::string> format;
  std::vector<std::string> text, report;
  int64_t text_tokens = 32768, report_tokens = 0;
  std::optional<int64_t> context;
  PruneRequest request;
};

struct Sizes {
  ParameterCounts parameters;
  double nats = 0;
};

class Prune {
 public:
  Prune(const PruneArguments& a, const Environment& environment)
      : a_(a), runtime_(a.common, environment), line_(progress_options(a.common, environment)) {}

  void run() {
    check_arguments();
    const fs::path source = find_model(a_.model, runtime_.environment());
    for (const fs::path& taken : {fs::path(a_.out), fs::path(a_.out) / "model"}) {
      if (fs::exists(taken) && fs::equivalent(source, taken))
        fail_usage("{} would be written over itself", source.string());
    }
    Context& ctx = runtime_.ctx();
    model_.emplace(OpenModel{source, load_model(ctx, source, Weights::mapped_hf), load_tokenizer(source),
                             read_generation_config(source)});
    check(*model_->model, a_.request);
    context_ = a_.context ? window_length(model_->model->shape(), a_.context)
                          : std::min<int64_t>(512, model_->model->shape().max_positions);
    ValidationWindows text = windows(a_.text, a_.text_tokens);
    const UnitImportance importance = measure_unit_importance(
        ctx, *model_->model, text, windows_at_once(context_), line_.fractions("measure"));
    depth_ = importance.blocks;
    if (by_perplexity())
      depth_ = loss_without_layers(ctx, *model_->model, text, windows_at_once(context_),
                                   line_.fractions("layers"));
    const PrunePlan plan = plan_pruning(*model_->model, a_.request, importance, depth_);
    const Format& format = weights_format();
    const auto pruned = prune_model(ctx, *model_->model, plan, format);
    save_model(a_.out, *pruned, model_->generation, format);
    model_->tokenizer.save(a_.out);
    report(plan, importance.tokens);
  }

 private:
  bool by_perplexity() const {
    const std::optional<int64_t>& layers = a_.request.layers;
    return a_.depth_by == "perplexity" && layers && *layers < model_->model->shape().layers;
  }

  void check_arguments() const {
    if (a_.text.empty()) fail_usage("--text: name text on which to measure what matters");
    if (a_.depth_by != "influence" && a_.depth_by != "perplexity")
      fail_usage("--depth-by {}: expected influence or perplexity", a_.depth_by);
    if (is_gguf(a_.out) || fs::path(a_.out).extension() == ".gguf") {
      fail_usage("--out {}: expected a directory; 'frugal convert' makes a GGUF file of it", a_.out);
    }
    if (a_.format && *a_.format != "f32" && *a_.format != "bf16")
      fail_usage("--format {}: expected f32 or bf16", *a_.format);
  }

  const Format& weights_format() const {
    if (a_.format) return find_format(*a_.format);
    return model_->model->head().is_f32() ? formats::f32 : formats::bf16;
  }

  ValidationWindows windows(const std::vector<std::string>& files, int64_t tokens) {
    return text_windows(runtime_, *model_, files, context_, tokens);
  }

  // Of the model as it lies on disk.
  void report(const PrunePlan& plan, int64_t measured_tokens) {
    const bool own = !a_.report.empty();
    ValidationWindows text = own ? windows(a_.report, a_.report_tokens) : windows(a_.text, a_.text_tokens);
    const auto written = load_model(runtime_.ctx(), a_.out);
    Sizes before{count_parameters(*model_->model)}, after{count_parameters(*written)};
    before.nats = validate(runtime_.ctx(), *model_->model, text, windows_at_once(context_)).loss;
    after.nats = validate(runtime_.ctx(), *written, text, windows_at_once(context_)).loss;

    Json kept = Json::object();
    kept["layers"] = plan.layers;
    const auto by_layer = [&](const char* name, const std::map<int64_t, std::vector<int64_t>>& all) {
      for (const auto& [layer, units] : all) kept[name][std::to_string(layer)] = units;
    };
    by_layer("heads", plan.heads);
    by_layer("kv_heads", plan.kv_heads);
    by_layer("experts", plan.experts);
    for (const auto& [name, units] : plan.neurons) kept["neurons"][name] = units;
    if (!plan.channels.empty()) kept["channels"] = plan.channels;
    Json result = {
        {"out", a_.out},
        {"parameters", {{"before", before.parameters.total}, {"after", after.parameters.total}}},
        {"active_parameters", {{"before", before.parameters.active}, {"after", after.parameters.active}}},
        {"ppl", {{"before", std::exp(before.nats)}, {"after", std::exp(after.nats)}}},
        {"tokens", text.targets()},
        {"measured_tokens", measured_tokens},
        {"kept_share", plan.kept},
        {"layer_importance", depth_},
        {"depth_by", a_.depth_by}};
    Json file = {{"from", fs::absolute(model_->directory).lexically_normal().string()}};
    file.update(result);
    file["text"] = a_.text;
    file["kept"] = std::move(kept);
    write_json_file(fs::path(a_.out) / kReportFile, file);
    if (a_.common.json) return print_json(result);
    print(table(plan, before, after, text.targets()));
  }

  std::string table(const PrunePlan& plan, const Sizes& before, const Sizes& after, int64_t tokens) const {
    const auto row = [](std::string_view name, const std::string& was, const std::string& is,
                        const std::string& note = "") {
      return fmt::format("{:<34}{:>14}{:>14}{}{}\n", name, was, is, note.empty() ? "" : "  ", note);
    };
    std::string out = row("", "before", "after");
    out += row("parameters", std::to_string(before.parameters.total), std::to_string(after.parameters.total));
    const Json was = model_->model->config(), &is = plan.config;
    const std::pair<const char*, const char*> shares[] = {
        {"num_attention_heads", "heads"}, {"n_routed_experts", "experts"},
        {"num_experts", "experts"},       {"num_local_experts", "experts"},
        {"hidden_size", "channels"},      {"intermediate_size", "neurons"},
        {"n_inner", "neurons"},           {"moe_intermediate_size", "neurons"}};
    for (const auto& [key, value] : is.items()) {
      if (!value.is_number_integer() || (was.contains(key) && was[key] == value)) continue;
      std::string note;
      for (const auto& [name, what] : shares) {
        const auto share = plan.kept.find(what);
        if (key == name && share != plan.kept.end())
          note = fmt::format("{:.1f} % of what the {} did", 100 * share->second, what);
      }
      if (key == "num_hidden_layers" || key == "n_layer") note = left_out(plan);
      out += row(key, was.contains(key) ? to_text(was[key]) : "-", to_text(value), note);
    }
    out += row("perplexity", fmt::format("{:.3f}", std::exp(before.nats)),
               fmt::format("{:.3f}", std::exp(after.nats)), fmt::format("on {} tokens", tokens));
    return out + fmt::format("{}: to heal it: frugal distill RECIPE --set distill.teacher={} --set init={}\n",
                             a_.out, a_.model, a_.out);
  }

  std::string left_out(const PrunePlan& plan) const {
    std::string text;
    for (int64_t layer = 0; layer < std::ssize(depth_); ++layer) {
      if (std::ranges::find(plan.layers, layer) != plan.layers.end()) continue;
      text += fmt::format("{}{}", text.empty() ? "without " : ", ", layer);
    }
    return text;
  }

  const PruneArguments& a_;
  Runtime runtime_;
  LiveLine line_;
  std::optional<OpenModel> model_;
  std::vector<double> depth_;  // of the original's layers: the smallest go first
  int64_t context_ = 0;
};

}  // namespace

void declare_prune(Command& command, const Environment& environment) {
  const auto a = std::make_shared<PruneArguments>();
  a->common.declare(command);
  command.positional("MODEL", a->model, kModelHelp);
  command.required_option("-o,--out", a->out, "The directory to write, in Hugging Face layout");
  command.option("--text", a->text,
                 "Text to measure on what matters: .txt or .jsonl, files, folders or globs");
  command.option("--text-tokens", a->text_tokens, "About so many tokens of it, evenly spread; 0: all");
  PruneRequest& r = a->request;
  command.option("--layers", r.layers, "Blocks to keep");
  command.option("--heads", r.heads, "Attention heads to keep in every layer");
  command.option("--kv-heads", r.kv_heads, "Key and value heads to keep in every layer");
  command.option("--experts", r.experts, "Routed experts to keep in every layer");
  command.option("--experts-per-token", r.experts_per_token, "Experts that a token goes to");
  command.option("--intermediate-size", r.intermediate_size, "Neurons to keep in every dense feed-forward");
  command.option("--moe-intermediate-size", r.moe_intermediate_size, "Neurons to keep in every expert");
  command.option("--shared-expert-intermediate-size", r.shared_expert_intermediate_size,
                 "Neurons to keep in every shared expert that has a width of its own");
  command.option("--hidden-size", r.hidden_size, "Channels of the residual stream to keep");
  command.option(
      "--depth-by", a->depth_by,
      "Which layers go first: those that change their input least (influence), or without which the "
      "text's loss grows least (perplexity; a pass over the text a layer)");
  command.option("--report", a->report,
                 "Text for the perplexity before and after (default: what --text measured on)");
  command.option("--report-tokens", a->report_tokens, "About so many tokens of it, evenly spread; 0: all");
  command.option("--context", a->context, "Tokens in a window of either text (default: 512)");
  command.option("--format", a->format, "Of the weights: f32 or bf16 (default: f32 if they are, else bf16)");
  command.action([a, environment] { Prune(*a, environment).run(); });
}

}  // namespace frugal::cli
