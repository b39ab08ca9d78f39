// frugal convert MODEL OUT: between Hugging Face directories and GGUF files, and from one number format to
// another.
#include <nlohmann/json.hpp>

#include "cli/open_model.h"
#include "cli/verbs.h"
#include "core/error.h"
#include "io/gguf_model.h"
#include "io/gguf_save.h"
#include "io/gguf_tokenizer.h"
#include "io/model_files.h"

namespace frugal::cli {
namespace {

struct ConvertArguments {
  CommonOptions common;
  std::string model, out;
  std::optional<std::string> out_flag, format;
};

constexpr std::string_view kNoTokenizer = "none";  // llama.cpp's word for it

// What the tokenizer of `source` adds to a GGUF file's metadata; nothing when it has none.
GgufMetadata tokenizer_metadata(const fs::path& source, const Model& model, const ConvertArguments& a) {
  GgufMetadata metadata;
  if (is_gguf(source)) {
    const GgufFile file(source);
    for (const GgufField& field : file.metadata()) {
      if (field.key.starts_with("tokenizer.") || field.key.starts_with("general.sampling."))
        metadata.copy(field);
    }
    return metadata;
  }
  if (!fs::exists(source / "tokenizer.json")) {
    note(a.common, "no tokenizer.json beside the weights: the file will hold a model without its tokenizer");
    metadata.add("tokenizer.ggml.model", kNoTokenizer);
    return metadata;
  }
  write_ggml_vocabulary(load_tokenizer(source).to_ggml(model.shape().vocab_size), metadata);
  write_generation_config(read_generation_config(source), metadata);
  return metadata;
}

bool has_tokenizer(const fs::path& source) {
  if (!is_gguf(source)) return fs::exists(source / "tokenizer.json");
  const GgufFile file(source);
  return file.has("tokenizer.ggml.model") && file.text("tokenizer.ggml.model") != kNoTokenizer;
}

bool is_packed(const Model& model) {
  return model.head().format().block > 1;
}

void to_gguf(Context& ctx, const ConvertArguments& a, const fs::path& source, const fs::path& out,
             const Format* format) {
  if (is_gguf(source) && format == nullptr) fail_usage("from GGUF to GGUF: give --format");
  const auto model = load_model(ctx, source, Weights::mapped_hf);
  GgufSaveOptions options;
  options.format = format;
  options.name = source.stem().string();
  options.substituted = [&](const std::string& tensor, const Format& wanted, const Format& used) {
    note(a.common, fmt::format("{}: {} in place of {}, whose blocks do not fit its rows", tensor, used.name,
                               wanted.name));
  };
  save_gguf(ctx, out, *model, tokenizer_metadata(source, *model, a), options);
}

void to_directory(Context& ctx, const ConvertArguments& a, const fs::path& source, const fs::path& out,
                  const Format* format) {
  const auto model = load_model(ctx, source, Weights::mapped_hf);
  if (format == nullptr) {
    format = &model->head().format() == &formats::f32 ? &formats::f32 : &formats::bf16;
    if (is_packed(*model))
      note(a.common, "weights become bf16; --format f32 keeps every bit of the decoded values");
  }
  save_model(out, *model, read_generation_config(source), *format);
  if (has_tokenizer(source)) {
    load_tokenizer(source).save(out);
  } else {
    note(a.common, "no tokenizer was found: the directory will hold a model without one");
  }
}

void convert(const ConvertArguments& a, const Environment& environment) {
  if (a.out.empty() == !a.out_flag) fail_usage("say where to write to, once: frugal convert MODEL OUT");
  const fs::path source = find_model(a.model), out = a.out_flag.value_or(a.out);
  const Format* format = a.format ? &find_format(*a.format) : nullptr;
  for (const fs::path& taken : {out, out / "model"}) {  // a run directory stands for the model in it
    if (fs::exists(taken) && fs::equivalent(source, taken))
      fail_usage("{} would be written over itself", a.model);
  }
  Runtime runtime(a.common, environment);
  if (is_gguf(out)) {
    to_gguf(runtime.ctx(), a, source, out, format);
  } else {
    to_directory(runtime.ctx(), a, source, out, format);
  }
  uint64_t bytes = 0;
  for (const fs::path& path : is_gguf(out) ? std::vector{out} : std::vector{out / "model.safetensors"})
    bytes += fs::file_size(path);
  if (a.common.json) return print_json({{"out", out.string()}, {"bytes", bytes}});
  note(a.common, fmt::format("{}: {:.1f} MB of weights", out.string(), static_cast<double>(bytes) / 1e6));
}

}  // namespace

void declare_convert(Command& command, const Environment& environment) {
  const auto a = std::make_shared<ConvertArguments>();
  a->common.declare(command);
  command.positional("MODEL", a->model,
                     "A directory in Hugging Face layout, a run directory, or a .gguf file");
  command.positional("OUT", a->out, "A .gguf file, or else a directory in Hugging Face layout", false);
  command.option("--out", a->out_flag, "The same as OUT");
  command.option(
      "--format", a->format,
      "Of the weights: f32 or bf16; in GGUF also f16, q8_0, q6_k, q4_k, ... (default: as they are)");
  command.action([a, environment] { convert(*a, environment); });
}

}  // namespace frugal::cli
