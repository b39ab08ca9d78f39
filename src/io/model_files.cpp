#include "io/model_files.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "core/error.h"
#include "core/json.h"
#include "io/gguf_model.h"
#include "io/parameters.h"
#include "io/safetensors.h"

namespace frugal {
namespace {

bool tolerated(const std::string& name, const ParameterList& wanted) {
  return wanted.aliases.contains(name) || name.ends_with("rotary_emb.inv_freq");
}

const Format& format_of(const SafetensorsEntry& entry, const fs::path& directory) {
  const Format* format = find_safetensors_format(entry.dtype);
  if (format == nullptr) {
    fail("{}: tensor {} is stored as {}, which is not supported yet", directory.string(), entry.name,
         entry.dtype);
  }
  return *format;
}

// Decodes into a new f32 tensor, in pieces that threads share.
Tensor decode(Context& ctx, const SafetensorsEntry& entry, const Format& format) {
  Tensor out = Tensor::empty(ctx, entry.shape);
  if (ctx.dry_run()) return out;
  constexpr int64_t kPiece = 1 << 16;
  ctx.pool.parallel_for(out.size(), kPiece, [&](int64_t begin, int64_t end, int) {
    format.decode(entry.data.data() + format.bytes(begin), out.f32() + begin, end - begin);
  });
  return out;
}

// Small tensors are read by kernels that take f32 only.
bool is_small(Role role) {
  return role == Role::norm || role == Role::bias || role == Role::buffer;
}

Tensor take(Context& ctx, const SafetensorsEntry& entry, const ParameterInfo& info, Weights weights,
            const fs::path& directory) {
  const Format& format = format_of(entry, directory);
  const auto address = reinterpret_cast<uintptr_t>(entry.data.data());
  const bool aligned = address % static_cast<uintptr_t>(format.block_bytes) == 0;
  if (weights == Weights::copied_f32 || is_small(info.role) || !aligned) return decode(ctx, entry, format);
  return Tensor::alias(entry.shape, format, entry.data.data(), entry.file);
}

void check_names(const ParameterList& wanted, const SafetensorsDirectory& files) {
  Complaints complaints;
  std::unordered_set<std::string> known;
  for (const auto& [name, value, info] : wanted.parameters) {
    known.insert(name);
    const SafetensorsEntry* entry = files.find(name);
    if (entry == nullptr) {
      complaints.missing(fmt::format("{} {}", name, to_string(value->shape())));
    } else if (entry->shape != value->shape()) {
      complaints.different(
          fmt::format("{} wants {}, found {}", name, to_string(value->shape()), to_string(entry->shape)));
    }
  }
  for (const SafetensorsEntry& entry : files.entries()) {
    if (!known.contains(entry.name) && !tolerated(entry.name, wanted)) {
      complaints.unexpected(fmt::format("{} {}", entry.name, to_string(entry.shape)));
    }
  }
  complaints.raise(files.path(), "config.json");
}

void assign(Context& ctx, Model& model, const SafetensorsDirectory& files, Weights weights) {
  const ParameterList wanted(model);
  check_names(wanted, files);
  for (const auto& [name, value, info] : wanted.parameters) {
    *value = take(ctx, *files.find(name), info, weights, files.path());
  }
}

bool lacks_all_mtp(Model& model, const SafetensorsDirectory& files) {
  bool wanted = false, found = false;
  for (const auto& [name, value, info] : ParameterList(model).parameters) {
    wanted = wanted || info.mtp;
    found = found || (info.mtp && files.find(name) != nullptr);
  }
  return wanted && !found;
}

}  // namespace

fs::path find_model(const std::string& name) {
  const fs::path path(name);
  if (fs::is_directory(path)) {
    if (fs::exists(path / "config.json")) return path;
    if (fs::exists(path / "model" / "config.json")) return path / "model";
    fail("{}: no model here: expected config.json and model.safetensors, or a run directory with model/",
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
  if (is_gguf(directory)) return create_from_file(GgufModel(directory).config(), directory);
  return create_from_file(read_json_file(directory / "config.json"), directory);
}

std::unique_ptr<Model> load_model(Context& ctx, const fs::path& directory, Weights weights) {
  if (is_gguf(directory)) {
    const GgufModel file(directory);
    auto model = create_from_file(file.config(), directory);
    file.load(ctx, *model, weights);
    return model;
  }
  auto model = declare_model(directory);
  const SafetensorsDirectory files(directory);
  if (lacks_all_mtp(*model, files)) {
    Json config = model->config();
    config["num_nextn_predict_layers"] = 0;
    model = create_from_file(config, directory);
  }
  assign(ctx, *model, files, weights);
  return model;
}

void load_parameters(Context& ctx, Model& model, const fs::path& directory, Weights weights) {
  if (is_gguf(directory)) return GgufModel(directory).load(ctx, model, weights);
  assign(ctx, model, SafetensorsDirectory(directory), weights);
}

namespace {

void write_weights(const fs::path& path, const ParameterList& all, const Format& format) {
  std::vector<SafetensorsDeclaration> declarations;
  std::unordered_map<std::string, const ParameterList::Parameter*> by_name;
  const auto format_for = [&](const ParameterList::Parameter& p) -> const Format& {
    return p.info.role == Role::buffer ? formats::f32 : format;
  };
  for (const ParameterList::Parameter& p : all.parameters) {
    declarations.push_back({p.name, std::string(format_for(p).safetensors), p.value->shape()});
    by_name[p.name] = &p;
  }
  SafetensorsWriter writer(path, std::move(declarations));
  constexpr int64_t kPiece = 1 << 18;
  std::vector<float> values;
  std::vector<std::byte> encoded;
  for (const SafetensorsDeclaration& declaration : writer.order()) {
    const ParameterList::Parameter& p = *by_name.at(declaration.name);
    const Format& to = format_for(p);
    CHECK(p.value->allocated(), "{} has no values", p.name);
    const int64_t cols = p.value->cols(), rows = std::max<int64_t>(1, kPiece / cols);
    for (int64_t row = 0; row < p.value->rows(); row += rows) {
      const int64_t end = std::min(row + rows, p.value->rows()), n = (end - row) * cols;
      values.resize(static_cast<size_t>(n));
      p.value->decode_rows(row, end, values.data());  // with the factors of blocks, where there are any
      encoded.resize(static_cast<size_t>(to.bytes(n)));
      to.encode(values.data(), encoded.data(), n);
      writer.write(p.name, encoded);
    }
  }
  writer.commit();
}

}  // namespace

void save_model(const fs::path& directory, Model& model, const GenerationConfig& generation,
                const Format& format) {
  if (&format != &formats::f32 && &format != &formats::bf16) {
    fail_usage("weights as {}: expected f32 or bf16", format.name);
  }
  CHECK(model.layout() == WeightLayout{}, "weights to be saved are loaded as mapped_hf or copied_f32");
  make_directories(directory);
  write_weights(directory / "model.safetensors", ParameterList(model), format);
  Json config = model.config();
  config["torch_dtype"] = &format == &formats::f32 ? "float32" : "bfloat16";
  config.erase("dtype");  // the newer name of the same key must not contradict it
  write_json_file(directory / "config.json", config);
  Json wishes = write_fields(generation);
  if (wishes["eos_token_id"].empty()) wishes.erase("eos_token_id");
  if (generation.eos_token_id.size() == 1) wishes["eos_token_id"] = generation.eos_token_id[0];
  write_json_file(directory / "generation_config.json", wishes);
}

}  // namespace frugal
