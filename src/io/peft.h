// Adapters on disk as PEFT (Hugging Face) has them: a directory with adapter_config.json and
// adapter_model.safetensors, tensors named base_model.model.MODULE.lora_A.weight, .lora_B.weight and, for
// DoRA, .lora_magnitude_vector. Where a model is wanted such a directory stands for its base model with the
// adapter beside it.
#pragma once

#include <functional>
#include <string>

#include "core/context.h"
#include "core/files.h"
#include "models/model.h"
#include "nn/adapter.h"

namespace frugal {

inline constexpr std::string_view kAdapterConfig = "adapter_config.json";
inline constexpr std::string_view kAdapterWeights = "adapter_model.safetensors";

// Whether `path` is a directory that holds an adapter.
bool is_adapter(const fs::path& path);

// What MODEL --adapter NAME means: an adapter's directory, or a run directory that holds one in adapter/.
// Error otherwise.
fs::path find_adapter(const std::string& name);

// The model that the adapter says it was made for: a path, absolute or from the working directory or from the
// adapter's. Error when it says none, or one that is not here.
fs::path adapter_base(const fs::path& directory);

// Puts the adapter beside the matrices of `model`, which lie as Hugging Face has them (Weights::mapped_hf or
// copied_f32), frozen or `trainable`. Error naming file and tensor when it is not for this model, damaged, or
// of a kind that is not supported (what it is, and what is). Returns the switch of its dropout.
std::shared_ptr<LowRankDropout> load_adapter(Context& ctx, Model& model, const fs::path& directory,
                                             bool trainable = false);

// The text of adapter_config.json for adapters that attach_adapters() made; `base`: what to load them beside.
std::string adapter_config_text(Model& model, const AdapterOptions& options, const std::string& base);

// Every tensor of the adapters beside `model`, by PEFT's name.
void visit_peft_tensors(Model& model,
                        const std::function<void(const std::string& name, const Tensor& value)>& body);

// Writes both files; the directory is made when missing.
void save_adapter(const fs::path& directory, Model& model, const std::string& config_text);

}  // namespace frugal
