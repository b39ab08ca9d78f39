#include "cli/conversion.h"

#include <vector>

#include "core/error.h"
#include "io/gguf_model.h"
#include "io/gguf_save.h"
#include "io/gguf_tokenizer.h"
#include "io/model_files.h"
#include "io/peft.h"

namespace frugal::cli {
namespace {

constexpr std::string_view kNoTokenizer = "none";  // llama.cpp's word for it

// What is written has its adapter merged in: `source` is one, or is given one.
std::unique_ptr<Model> open_source(Context& ctx, const Conversion& c, const fs::path& source) {
  return c.adapter.empty() ? load_model(ctx, source, Weights::mapped_hf)
                           : load_model_with_adapter(ctx, source, c.adapter, Weights::mapped_hf);
}

// Where the tokenizer lies: an adapter need not have one.
fs::path tokenizer_place(const fs::path& source) {
  return is_adapter(source) && !fs::exists(source / "tokenizer.json") ? adapter_base(source) : source;
}

// What the tokenizer of `source` adds to a GGUF file's metadata; nothing when it has none.
GgufMetadata tokenizer_metadata(const fs::path& given, const Model& model, const Conversion& c) {
  const fs::path source = tokenizer_place(given);
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
    c.note("no tokenizer.json beside the weights: the file will hold a model without its tokenizer");
    metadata.add("tokenizer.ggml.model", kNoTokenizer);
    return metadata;
  }
  write_ggml_vocabulary(load_tokenizer(source).to_ggml(model.shape().vocab_size), metadata);
  write_generation_config(read_generation_config(source), metadata);
  return metadata;
}

bool has_tokenizer(const fs::path& given) {
  const fs::path source = tokenizer_place(given);
  if (!is_gguf(source)) return fs::exists(source / "tokenizer.json");
  const GgufFile file(source);
  return file.has("tokenizer.ggml.model") && file.text("tokenizer.ggml.model") != kNoTokenizer;
}

bool is_packed(const Model& model) {
  return model.head().format().block > 1;
}

void to_gguf(Context& ctx, const Conversion& c, const fs::path& source, const fs::path& out) {
  if (is_gguf(source) && c.format == nullptr && c.mix == nullptr)
    fail_usage("from GGUF to GGUF: give --format");
  const auto model = open_source(ctx, c, source);
  GgufSaveOptions options;
  options.format = c.mix != nullptr ? c.mix->base : c.format;
  options.mix = c.mix;
  options.importance = c.importance;
  options.name = source.stem().string();
  options.substituted = [&](const std::string& tensor, const Format& wanted, const Format& used) {
    c.note(fmt::format("{}: {} in place of {}, whose blocks do not fit its rows", tensor, used.name,
                       wanted.name));
  };
  save_gguf(ctx, out, *model, tokenizer_metadata(source, *model, c), options);
}

void to_directory(Context& ctx, const Conversion& c, const fs::path& source, const fs::path& out) {
  if (c.mix != nullptr) fail_usage("{} is a mix of GGUF formats: write to a .gguf file", c.mix->name);
  const auto model = open_source(ctx, c, source);
  const Format* format = c.format;
  if (format == nullptr) {
    format = &model->head().format() == &formats::f32 ? &formats::f32 : &formats::bf16;
    if (is_packed(*model)) c.note("weights become bf16; --format f32 keeps every bit of the decoded values");
  }
  save_model(out, *model, read_generation_config(source), *format);
  if (has_tokenizer(source)) {
    load_tokenizer(source).save(out);
  } else {
    c.note("no tokenizer was found: the directory will hold a model without one");
  }
}

}  // namespace

uint64_t convert_model(Context& ctx, const fs::path& source, const fs::path& out, const Conversion& c) {
  for (const fs::path& taken : {out, out / "model"}) {  // a run directory stands for the model in it
    if (fs::exists(taken) && fs::equivalent(source, taken))
      fail_usage("{} would be written over itself", source.string());
  }
  if (!is_gguf(out)) {
    to_directory(ctx, c, source, out);
    return fs::file_size(out / "model.safetensors");
  }
  to_gguf(ctx, c, source, out);
  return fs::file_size(out);
}

}  // namespace frugal::cli
