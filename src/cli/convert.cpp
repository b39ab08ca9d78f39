// frugal convert MODEL OUT: between Hugging Face directories and GGUF files, and from one number format to
// another; an adapter is merged on the way.
#include <nlohmann/json.hpp>

#include "cli/conversion.h"
#include "cli/open_model.h"
#include "cli/verbs.h"
#include "core/error.h"
#include "io/peft.h"

namespace frugal::cli {
namespace {

struct ConvertArguments {
  CommonOptions common;
  std::string model, out;
  std::optional<std::string> out_flag, format, adapter;
};

void convert(const ConvertArguments& a, const Environment& environment) {
  if (a.out.empty() == !a.out_flag) fail_usage("say where to write to, once: frugal convert MODEL OUT");
  const fs::path source = find_model(a.model, environment), out = a.out_flag.value_or(a.out);
  Conversion conversion;
  if (a.adapter) conversion.adapter = find_adapter(*a.adapter);
  if (a.format) conversion.format = &find_format(*a.format);
  conversion.note = [&](const std::string& text) { note(a.common, text); };
  Runtime runtime(a.common, environment);
  const uint64_t bytes = convert_model(runtime.ctx(), source, out, conversion);
  if (a.common.json) return print_json({{"out", out.string()}, {"bytes", bytes}});
  note(a.common, fmt::format("{}: {:.1f} MB of weights", out.string(), static_cast<double>(bytes) / 1e6));
}

}  // namespace

void declare_convert(Command& command, const Environment& environment) {
  const auto a = std::make_shared<ConvertArguments>();
  a->common.declare(command);
  command.positional("MODEL", a->model, kModelHelp);
  command.positional("OUT", a->out, "A .gguf file, or else a directory in Hugging Face layout", false);
  command.option("--adapter", a->adapter,
                 "Merge this LoRA adapter (PEFT's layout, or a run of frugal tune) into the weights");
  command.option("--out", a->out_flag, "The same as OUT");
  command.option("--format", a->format,
                 "Of the weights: f32 or bf16; in a directory also f8_e4m3; in GGUF also f16, q8_0, q6_k, "
                 "q4_k, ... (default: as they are)");
  command.action([a, environment] { convert(*a, environment); });
}

}  // namespace frugal::cli
