// Writes a model as one GGUF file that llama.cpp and its relatives read: metadata and names from the family's
// table, experts stacked, layouts as they want them.
#pragma once

#include <functional>

#include "core/context.h"
#include "io/generation_config.h"
#include "io/gguf_mix.h"
#include "io/gguf_writer.h"
#include "io/importance.h"
#include "models/model.h"

namespace frugal {

struct GgufSaveOptions {
  // Of matrices; null: as they are (bf16 for what GGUF lacks). Norms, biases, routers and positions are f32.
  const Format* format = nullptr;
  const GgufMix* mix = nullptr;            // in place of `format`: by tensor
  const Importance* importance = nullptr;  // null: all inputs count alike
  std::string name;                        // general.name; may be empty
  // Told of every tensor whose rows the wanted format does not fit, and what it became.
  std::function<void(const std::string& tensor, const Format& wanted, const Format& used)> substituted;
};

// `tokenizer`: what other metadata the file gets. The model lies as Hugging Face has it (Weights::mapped_hf).
// Error when GGUF has no such architecture or cannot say what the config says; then nothing is written.
void save_gguf(Context& ctx, const fs::path& path, Model& model, const GgufMetadata& tokenizer,
               const GgufSaveOptions& options = {});

// The keys that end a reply besides EOS.
void write_generation_config(const GenerationConfig& generation, GgufMetadata& metadata);

}  // namespace frugal
