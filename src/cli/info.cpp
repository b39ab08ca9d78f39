// frugal info MODEL | --preset NAME: what a model is made of and what it costs, without touching its weights.
#include "cli/info.h"

#include <nlohmann/json.hpp>

#include "cli/open_model.h"
#include "cli/verbs.h"
#include "core/error.h"
#include "io/model_files.h"
#include "meter/units.h"

namespace frugal::cli {

Json model_info(Model& model, int64_t context) {
  const ParameterCounts counts = count_parameters(model);
  const ModelShape shape = model.shape();
  const FlopsPerToken flops = flops_per_token(model, context);
  const Json config = model.config();
  Json memory = Json::object();
  for (const Format* format : all_formats()) {
    if (format->block == 1) memory[std::string(format->name)] = format->bytes(counts.total + counts.mtp);
  }
  return {{"architecture", config.at("model_type")},
          {"parameters", counts.total},
          {"active_parameters", counts.active},
          {"embedding_parameters", counts.embedding},
          {"mtp_parameters", counts.mtp},
          {"layers", shape.layers},
          {"hidden_size", shape.hidden_size},
          {"vocab_size", shape.vocab_size},
          {"max_positions", shape.max_positions},
          {"kv_bytes_per_token", kv_bytes_per_token(model, formats::bf16)},
          {"context", context},
          {"flops_per_token", {{"forward", flops.forward}, {"training", flops.training}}},
          {"memory_bytes", std::move(memory)},
          {"config", config}};
}

namespace {

struct InfoArguments {
  CommonOptions common;
  std::string model, preset;
  std::optional<int64_t> context;
};

std::string millions(const Json& count) {
  const auto n = count.get<double>();
  return n >= 1e9 ? fmt::format("{:.2f} B", n / 1e9) : fmt::format("{:.2f} M", n / 1e6);
}

void print_table(const std::string& name, const Json& info) {
  const auto line = [](std::string_view key, const std::string& value) {
    print(fmt::format("{:<22} {}\n", key, value));
  };
  line("model", name);
  line("architecture", info.at("architecture").get<std::string>());
  line("layers, width",
       fmt::format("{}, {}", info.at("layers").get<int64_t>(), info.at("hidden_size").get<int64_t>()));
  line("vocabulary", fmt::format("{}", info.at("vocab_size").get<int64_t>()));
  line("longest context", fmt::format("{}", info.at("max_positions").get<int64_t>()));
  line("parameters", millions(info.at("parameters")));
  line("  active per token", millions(info.at("active_parameters")));
  line("  embedding", millions(info.at("embedding_parameters")));
  if (info.at("mtp_parameters") != 0) line("  MTP, not counted", millions(info.at("mtp_parameters")));
  line("KV cache per token", fmt::format("{} bytes (bf16)", info.at("kv_bytes_per_token").get<int64_t>()));
  const Json& flops = info.at("flops_per_token");
  line("FLOPs per token", fmt::format("{} forward, {} training (context {})",
                                      format_quantity(flops.at("forward").get<double>(), "FLOP"),
                                      format_quantity(flops.at("training").get<double>(), "FLOP"),
                                      info.at("context").get<int64_t>()));
  for (const auto& [format, bytes] : info.at("memory_bytes").items()) {
    line("weights in " + format, format_quantity(bytes.get<double>(), "B"));
  }
}

void info(const InfoArguments& a, const Environment& environment) {
  if (a.model.empty() == a.preset.empty()) fail_usage("give either a MODEL or --preset NAME");
  const auto model = a.preset.empty() ? declare_model(find_model(a.model, environment))
                                      : create_model(preset_config(a.preset));
  constexpr int64_t kUsual = 4096;
  const int64_t context = a.context.value_or(std::min(kUsual, model->shape().max_positions));
  if (context < 1) fail_usage("--context {}: expected at least 1", context);
  const Json result = model_info(*model, context);
  if (a.common.json) return print_json(result);
  print_table(a.preset.empty() ? a.model : a.preset, result);
}

}  // namespace

void declare_info(Command& command, const Environment& environment) {
  const auto a = std::make_shared<InfoArguments>();
  a->common.declare(command);
  std::string presets;
  for (const Preset& preset : all_presets())
    presets += (presets.empty() ? "" : ", ") + std::string(preset.name);
  command.positional("MODEL", a->model, kModelHelp, false);
  command.option("--preset", a->preset, "A ready-made shape instead: " + presets);
  command.option("--context", a->context, "Tokens of context for the FLOPs (default: 4096 or the model's)");
  command.action([a, environment] { info(*a, environment); });
}

}  // namespace frugal::cli
