#include "io/model_files.h"

#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/json.h"
#include "io/gguf_model.h"
#include "io/hf_weights.h"
#include "io/peft.h"

namespace frugal {
namespace {

bool lacks_all_mtp(Model& model, const HfWeights& weights) {
  bool wanted = false, found = false;
  for (const auto& [name, value, info] : ParameterList(model).parameters) {
    wanted = wanted || info.mtp;
    found = found || (info.mtp && weights.holds(name));
  }
  return wanted && !found;
}

}  // namespace

fs::path find_model(const std::string& name) {
  const fs::path path(name);
  if (fs::is_directory(path)) {
    if (fs::exists(path / "config.json")) return path;
    if (is_adapter(path)) return path;
    if (is_adapter(path / "adapter")) return path / "adapter";
    if (fs::exists(path / "model" / "config.json")) return path / "model";
    fail(
        "{}: no model here: expected config.json and model.safetensors, an adapter, or a run directory with "
        "model/",
        name);
  }
  if (!fs::exists(path)) {
    fail("{}: no such model: expected a directory in Hugging Face layout or a .gguf file", name);
  }
  if (is_gguf(path)) return path;
  fail("{}: not a model: expected a directory in Hugging Face layout or a .gguf file", name);
}

// create_model blames the caller's config; here it is a file's, and a broken file is not a wrong command.
static std::unique_ptr<Model> create_from_file(const Json& config, const fs::path& directory) {
  try {
    return create_model(config);
  } catch (const UsageError& error) {
    fail("{}: {}", directory.string(), error.what());
  }
}

std::unique_ptr<Model> declare_model(const fs::path& directory) {
  if (is_adapter(directory)) return declare_model(adapter_base(directory));
  if (is_gguf(directory)) return create_from_file(GgufModel(directory).config(), directory);
  return create_from_file(read_json_file(directory / "config.json"), directory);
}

std::unique_ptr<Model> load_model_with_adapter(Context& ctx, const fs::path& base, const fs::path& adapter,
                                               Weights weights) {
  auto model = load_model(ctx, base, weights == Weights::mapped ? Weights::mapped_hf : weights);
  load_adapter(ctx, *model, adapter);
  return model;
}

std::unique_ptr<Model> load_model(Context& ctx, const fs::path& directory, Weights weights) {
  if (is_adapter(directory)) return load_model_with_adapter(ctx, adapter_base(directory), directory, weights);
  if (is_gguf(directory)) {
    const GgufModel file(directory);
    auto model = create_from_file(file.config(), directory);
    file.load(ctx, *model, weights);
    return model;
  }
  auto model = declare_model(directory);
  const SafetensorsDirectory files(directory);
  const HfWeights found(files, model->config());
  if (lacks_all_mtp(*model, found)) {
    Json config = model->config();
    config["num_nextn_predict_layers"] = 0;
    model = create_from_file(config, directory);
  }
  found.load(ctx, *model, weights);
  return model;
}

void load_parameters(Context& ctx, Model& model, const fs::path& directory, Weights weights) {
  if (is_gguf(directory)) return GgufModel(directory).load(ctx, model, weights);
  const SafetensorsDirectory files(directory);
  // How the weights lie is the directory's to say: the model may have been made from another config.
  const fs::path config = directory / "config.json";
  HfWeights(files, fs::exists(config) ? read_json_file(config) : model.config()).load(ctx, model, weights);
}

namespace {

// Of a parameter in a directory of `wanted`. FP8 is for what DeepSeek-V3 has in it: matrices of layers,
// without routers, and of an MTP module all but its projection.
const Format& format_in_directory(const Format& wanted, const std::string& name, const ParameterInfo& info) {
  if (info.role == Role::buffer) return formats::f32;
  if (&wanted != &formats::f8_e4m3) return wanted;
  const bool matrix =
      (info.role == Role::matrix || info.role == Role::expert) && !name.ends_with(".eh_proj.weight");
  return matrix ? formats::f8_e4m3 : formats::bf16;
}

// Whether Hugging Face's layout of the family has FP8 matrices: (out, in), each a tensor of its own.
void check_fp8(const Architecture& architecture, bool transposed) {
  if (architecture.stacks.empty() && !transposed) return;
  fail_usage("{} has no FP8 form in Hugging Face's layout ({}); write bf16, or a .gguf file",
             architecture.model_type, transposed ? "its matrices lie transposed" : "its experts are stacked");
}

}  // namespace

void save_model(const fs::path& directory, Model& model, const GenerationConfig& generation,
                const Format& format) {
  if (&format != &formats::f32 && &format != &formats::bf16 && &format != &formats::f8_e4m3) {
    fail_usage("weights as {}: expected f32, bf16 or f8_e4m3", format.name);
  }
  CHECK(model.layout() == WeightLayout{}, "weights to be saved are loaded as mapped_hf or copied_f32");
  Json config = model.config();
  std::vector<HfTensor> tensors;
  bool transposed = false;
  EachParameter each([&](const std::string& name, Tensor& value, const ParameterInfo& info) {
    tensors.push_back({name, &value, &format_in_directory(format, name, info)});
    transposed = transposed || info.transposed;
  });
  model.visit(each);
  const bool fp8 = &format == &formats::f8_e4m3;
  if (fp8) check_fp8(*find_architecture(config), transposed);
  make_directories(directory);
  write_hf_weights(directory / "model.safetensors", tensors, config);
  config.erase("quantization_config");  // what the weights were read from
  if (fp8) config["quantization_config"] = fp8_config(tensors);
  config["torch_dtype"] = &format == &formats::f32 ? "float32" : "bfloat16";
  config.erase("dtype");  // the newer name of the same key must not contradict it
  write_json_file(directory / "config.json", config);
  Json wishes = write_fields(generation);
  if (wishes["eos_token_id"].empty()) wishes.erase("eos_token_id");
  if (generation.eos_token_id.size() == 1) wishes["eos_token_id"] = generation.eos_token_id[0];
  write_json_file(directory / "generation_config.json", wishes);
}

}  // namespace frugal
