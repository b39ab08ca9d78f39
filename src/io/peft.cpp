#include "io/peft.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>

#include "core/error.h"
#include "core/rng.h"
#include "io/model_files.h"
#include "io/safetensors.h"

namespace frugal {
namespace {

constexpr std::string_view kPrefix = "base_model.model.";

// The keys of adapter_config.json that we act on.
struct PeftConfig {
  std::string peft_type;
  std::optional<std::string> base_model_name_or_path;
  int64_t r = 8;
  double lora_alpha = 8, lora_dropout = 0;
  bool use_rslora = false, use_dora = false, lora_bias = false, use_qalora = false;
  std::string bias = "none";

  void visit(FieldVisitor& v) {
    v.field("peft_type", peft_type, "");
    v.field("base_model_name_or_path", base_model_name_or_path, "");
    v.field("r", r, "");
    v.field("lora_alpha", lora_alpha, "");
    v.field("lora_dropout", lora_dropout, "");
    v.field("use_rslora", use_rslora, "");
    v.field("use_dora", use_dora, "");
    v.field("lora_bias", lora_bias, "");
    v.field("use_qalora", use_qalora, "");
    v.field("bias", bias, "");
  }
};

struct AdapterFile {
  fs::path config_path, weights_path;
  Json json;
  PeftConfig config;
};

bool is_set(const Json& json, const char* key) {
  const auto found = json.find(key);
  if (found == json.end() || found->is_null()) return false;
  return !((found->is_object() || found->is_array()) && found->empty());
}

// What changes the model in a way we do not follow.
void refuse_other_kinds(const AdapterFile& file) {
  const std::string where = file.config_path.string();
  const PeftConfig& c = file.config;
  if (c.peft_type != "LORA")
    fail("{}: peft_type is '{}'; supported is LORA (with rsLoRA and DoRA)", where, c.peft_type);
  if (c.bias != "none")
    fail("{}: bias is '{}': trained biases are not supported, only 'none'", where, c.bias);
  if (c.lora_bias) fail("{}: lora_bias is not supported", where);
  if (c.use_qalora) fail("{}: use_qalora is not supported", where);
  for (const char* key : {"modules_to_save", "layer_replication", "target_parameters",
                          "trainable_token_indices", "use_bdlora"}) {
    if (is_set(file.json, key)) fail("{}: {} is set, which is not supported", where, key);
  }
  const auto init = file.json.find("init_lora_weights");
  if (init != file.json.end() && init->is_string()) {
    const auto name = init->get<std::string>();
    for (const char* changes :
         {"pissa", "olora", "corda", "loftq", "lora_ga"}) {  // these begin by changing W itself
      if (name.starts_with(changes)) {
        fail(
            "{}: made with init_lora_weights = {}, which changes the base model; convert it to plain LoRA "
            "with PEFT "
            "(save_pretrained with path_initial_model_for_weight_conversion)",
            where, name);
      }
    }
  }
}

AdapterFile open_adapter(const fs::path& directory) {
  AdapterFile file{directory / kAdapterConfig, directory / kAdapterWeights, {}, {}};
  file.json = read_json_file(file.config_path);
  if (!file.json.is_object()) fail("{}: expected an object", file.config_path.string());
  read_fields(file.config, file.json, file.config_path.string(), UnknownKeys::ignore);
  refuse_other_kinds(file);
  if (!fs::exists(file.weights_path))
    fail("{}: not found beside {}", file.weights_path.string(), kAdapterConfig);
  return file;
}

// alpha_pattern: other alphas by the end of a module's name. PEFT takes regular expressions; plain names are
// supported.
double alpha_for(const AdapterFile& file, const std::string& module) {
  const auto patterns = file.json.find("alpha_pattern");
  if (patterns == file.json.end() || !patterns->is_object()) return file.config.lora_alpha;
  for (const auto& [name, value] : patterns->items()) {
    const bool plain = std::all_of(name.begin(), name.end(),
                                   [](unsigned char c) { return std::isalnum(c) || c == '_' || c == '.'; });
    if (!plain || !value.is_number()) {
      fail("{}: alpha_pattern '{}': expected a module's name and a number", file.config_path.string(), name);
    }
    if (module == name || module.ends_with("." + name)) return value.get<double>();
  }
  return file.config.lora_alpha;
}

// The tensors of a file by module: "lora_A", "lora_B", "lora_magnitude_vector".
using Parts = std::map<std::string, const SafetensorsEntry*>;

std::map<std::string, Parts> group_by_module(const AdapterFile& file, const SafetensorsFile& weights) {
  std::map<std::string, Parts> modules;
  for (const SafetensorsEntry& entry : weights.entries()) {
    std::string_view name = entry.name;
    if (name.starts_with(kPrefix)) {
      name.remove_prefix(kPrefix.size());
      if (name.ends_with(".weight")) name.remove_suffix(7);
      const size_t dot = name.rfind('.');
      const std::string_view part = dot == std::string_view::npos ? name : name.substr(dot + 1);
      if (part == "lora_A" || part == "lora_B" || part == "lora_magnitude_vector") {
        modules[std::string(name.substr(0, dot))][std::string(part)] = &entry;
        continue;
      }
    }
    fail("{}: tensor '{}' is not one of LoRA's (base_model.model.MODULE.lora_A.weight, ...)",
         file.weights_path.string(), entry.name);
  }
  if (modules.empty()) fail("{}: holds no tensors", file.weights_path.string());
  return modules;
}

Tensor decoded(const Context& ctx, const AdapterFile& file, const SafetensorsEntry& entry,
               const Shape& shape) {
  if (entry.shape != shape) {
    fail("{}: '{}' is {}, this model wants {}: the adapter is for another model", file.weights_path.string(),
         entry.name, to_string(entry.shape), to_string(shape));
  }
  const Format* format = find_safetensors_format(entry.dtype);
  if (format == nullptr)
    fail("{}: '{}' is stored as {}", file.weights_path.string(), entry.name, entry.dtype);
  Tensor out = Tensor::empty(ctx, shape);
  if (!ctx.dry_run()) format->decode(entry.data.data(), out.f32(), out.size());
  return out;
}

const SafetensorsEntry& part_of(const AdapterFile& file, const std::string& module, const Parts& parts,
                                const std::string& name) {
  const auto found = parts.find(name);
  if (found == parts.end()) fail("{}: {} has no {}", file.weights_path.string(), module, name);
  return *found->second;
}

std::shared_ptr<LowRank> read_low_rank(const Context& ctx, const AdapterFile& file, const AdapterPlace& place,
                                       const Parts& parts) {
  const bool transposed = place.info.transposed;
  const int64_t in = place.matrix->dim(transposed ? 0 : 1), out = place.matrix->dim(transposed ? 1 : 0);
  const std::string module = place.module();
  const SafetensorsEntry& a = part_of(file, module, parts, "lora_A");
  if (a.shape.size() != 2 || a.shape[0] < 1)
    fail("{}: '{}' is no matrix", file.weights_path.string(), a.name);
  const int64_t rank = a.shape[0];
  auto l = std::make_shared<LowRank>();
  l->a = decoded(ctx, file, a, {rank, in});
  l->b = decoded(ctx, file, part_of(file, module, parts, "lora_B"), {out, rank});
  const auto r = static_cast<double>(rank);
  l->scale = static_cast<float>(alpha_for(file, module) / (file.config.use_rslora ? std::sqrt(r) : r));
  l->transposed = transposed;
  l->stream = hash64(place.parameter, 1);
  if (file.config.use_dora) {
    l->magnitude = decoded(ctx, file, part_of(file, module, parts, "lora_magnitude_vector"), {out});
    l->base_squares = output_squares(ctx, *place.matrix, transposed);
  } else if (parts.contains("lora_magnitude_vector")) {
    fail("{}: {} has a magnitude, but use_dora is off in {}", file.weights_path.string(), module,
         kAdapterConfig);
  }
  return l;
}

}  // namespace

bool is_adapter(const fs::path& path) {
  std::error_code error;
  return fs::is_directory(path, error) && fs::exists(path / kAdapterConfig, error);
}

fs::path find_adapter(const std::string& name) {
  const fs::path path(name);
  if (is_adapter(path)) return path;
  if (is_adapter(path / "adapter")) return path / "adapter";
  fail("{}: no adapter here: expected a directory with {} and {}, or a run directory with adapter/", name,
       kAdapterConfig, kAdapterWeights);
}

fs::path adapter_base(const fs::path& directory) {
  const fs::path config_path = directory / kAdapterConfig;
  PeftConfig config;
  read_fields(config, read_json_file(config_path), config_path.string(), UnknownKeys::ignore);
  const std::string base = config.base_model_name_or_path.value_or("");
  if (base.empty())
    fail("{}: does not say its base model: give MODEL --adapter {}", config_path.string(),
         directory.string());
  std::error_code error;
  for (const fs::path& place : {fs::path(base), directory / base}) {
    if (fs::exists(place, error)) return find_model(place.string());
  }
  fail("{}: its base model '{}' is not here: give MODEL --adapter {}", config_path.string(), base,
       directory.string());
}

std::shared_ptr<LowRankDropout> load_adapter(Context& ctx, Model& model, const fs::path& directory,
                                             bool trainable) {
  CHECK(model.layout() == WeightLayout{}, "a model with adapters is loaded as mapped_hf or copied_f32");
  const AdapterFile file = open_adapter(directory);
  const SafetensorsFile weights(file.weights_path);
  const auto modules = group_by_module(file, weights);
  const auto dropout = std::make_shared<LowRankDropout>(LowRankDropout{file.config.lora_dropout, 0});
  std::map<std::string, AdapterPlace> places;
  EachParameter each([&](const std::string& name, Tensor& value, const ParameterInfo& info) {
    const AdapterPlace place{name, &value, info};
    const bool matrix = info.role == Role::matrix || info.role == Role::expert;
    if (matrix && name.ends_with(".weight")) places[place.module()] = place;
  });
  model.visit(each);
  for (const auto& [module, parts] : modules) {
    const auto place = places.find(module);
    if (place == places.end()) {
      fail(
          "{}: has an adapter for '{}', a matrix that this model does not have: the adapter is for another "
          "model",
          file.weights_path.string(), module);
    }
    if (place->second.matrix->low_rank() != nullptr)
      fail("{}: {} has an adapter already", directory.string(), module);
    auto l = read_low_rank(ctx, file, place->second, parts);
    const bool expert = place->second.info.role == Role::expert;
    if (expert && l->magnitude)
      fail("{}: DoRA on routed experts ({}) is not supported", directory.string(), module);
    if (!expert) l->dropout = dropout;
    if (trainable) {
      l->a.require_gradient(true);
      l->b.require_gradient(true);
      if (l->magnitude) l->magnitude.require_gradient(true);
    }
    *place->second.matrix = place->second.matrix->with_low_rank(std::move(l));
  }
  // The experts' products are grouped: a projection has adapters on all of its experts or on none.
  for (const auto& [module, place] : places) {
    if (place.info.role != Role::expert || place.matrix->low_rank() != nullptr) continue;
    const size_t experts = module.rfind(".experts.");
    const std::string list = module.substr(0, experts), projection = module.substr(module.rfind('.'));
    for (const auto& [other, parts] : modules) {
      if (other.starts_with(list + ".experts.") && other.ends_with(projection)) {
        fail("{}: has an adapter for {} but none for {}", directory.string(), other, module);
      }
    }
  }
  return dropout;
}

std::string adapter_config_text(Model& model, const AdapterOptions& options, const std::string& base) {
  Json targets = Json::array();
  const bool all = std::find(options.target_modules.begin(), options.target_modules.end(), "all-linear") !=
                   options.target_modules.end();
  if (all) {  // as PEFT does: the modules in full
    for (const AdapterPlace& place : adapters_of([&](ParamVisitor& v) { model.visit(v); })) {
      targets.push_back(place.module());
    }
  } else {
    targets = options.target_modules;
  }
  const auto places = adapters_of([&](ParamVisitor& v) { model.visit(v); });
  const bool transposed = !places.empty() && places.front().info.transposed;
  const AdapterKind kind = options.parsed_kind();
  Json json = {{"peft_type", "LORA"},
               {"task_type", "CAUSAL_LM"},
               {"base_model_name_or_path", base},
               {"r", options.rank},
               {"lora_alpha", options.alpha},
               {"lora_dropout", options.dropout},
               {"use_rslora", kind == AdapterKind::rslora},
               {"use_dora", kind == AdapterKind::dora},
               {"target_modules", std::move(targets)},
               {"bias", "none"},
               {"fan_in_fan_out", transposed},
               {"inference_mode", true},
               {"init_lora_weights", true}};
  return to_text(json, 2) + "\n";
}

void visit_peft_tensors(Model& model, const std::function<void(const std::string&, const Tensor&)>& body) {
  for (const AdapterPlace& place : adapters_of([&](ParamVisitor& v) { model.visit(v); })) {
    visit_tensors(place.low_rank(), [&](std::string_view what, const Tensor& value) {
      const char* ending = what == "lora_magnitude_vector" ? "" : ".weight";
      body(fmt::format("{}{}.{}{}", kPrefix, place.module(), what, ending), value);
    });
  }
}

void save_adapter(const fs::path& directory, Model& model, const std::string& config_text) {
  make_directories(directory);
  std::vector<SafetensorsDeclaration> declared;
  std::map<std::string, Tensor> by_name;
  visit_peft_tensors(model, [&](const std::string& name, const Tensor& value) {
    declared.push_back({name, "F32", value.shape()});
    by_name[name] = value;
  });
  SafetensorsWriter writer(directory / kAdapterWeights, std::move(declared));
  for (const SafetensorsDeclaration& next : writer.order()) {
    const Tensor& value = by_name.at(next.name);
    writer.write(next.name, {value.data(), static_cast<size_t>(value.bytes())});
  }
  writer.commit();
  write_file_atomically(directory / kAdapterConfig, config_text);
}

}  // namespace frugal
