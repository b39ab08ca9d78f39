// A model on disk: a directory in Hugging Face layout (config.json, model.safetensors or shards,
// generation_config.json) or a GGUF file. Names and shapes come from the model's visitor; no architecture is
// known here. Tokenizer files beside it are text/'s.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "core/context.h"
#include "core/files.h"
#include "io/generation_config.h"
#include "models/model.h"

namespace frugal {

// What the MODEL of a command stands for: a directory in HF layout, a run directory (its adapter/ or model/),
// a GGUF file, or an adapter (io/peft.h), which stands for its base model with itself beside it. All
// functions here that read take any. Error that says what was looked for.
fs::path find_model(const std::string& name);

enum class Weights : int {
  mapped,     // matrices stay in the mapped files, in their format; norms, biases and buffers become f32
  mapped_hf,  // the same, but always as Hugging Face lays them out: to be saved (copies some rows of GGUF)
  copied_f32  // everything is decoded into memory of its own, to be trained or changed
};

// The model that config.json describes, its parameters declared but not loaded.
std::unique_ptr<Model> declare_model(const fs::path& directory);

// Error listing what is missing, unexpected or of another shape. Tolerated: rotary inv_freq tensors, and
// copies under a name that the model ties to another. A checkpoint without its multi-token-prediction modules
// (transformers drops them) loads as a model without them.
std::unique_ptr<Model> load_model(Context& ctx, const fs::path& directory, Weights weights = Weights::mapped);

// The model at `base` with the adapter at `adapter` beside it; mapped weights are mapped_hf.
std::unique_ptr<Model> load_model_with_adapter(Context& ctx, const fs::path& base, const fs::path& adapter,
                                               Weights weights = Weights::mapped);

// Replaces the parameters of `model` by those in the directory, as load_model does.
void load_parameters(Context& ctx, Model& model, const fs::path& directory,
                     Weights weights = Weights::mapped);

// Writes the three files, each atomically, weights first; the directory is made when missing. `format`: f32,
// bf16, or f8_e4m3 with a factor for each 128 x 128 (the matrices of layers; the rest is bf16), as
// DeepSeek-V3 is published; UsageError for another, or where a family has no such form. Buffers stay f32
// whatever the format. Error leaves the files that were there.
void save_model(const fs::path& directory, Model& model, const GenerationConfig& generation,
                const Format& format = formats::f32);

}  // namespace frugal
