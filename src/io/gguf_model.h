// A model in GGUF: one file, or the parts of a split one. The family's table (models/gguf_family.h) says what
// is what; here files are opened, held against the model, and their tensors handed over, mapped where the
// layout allows.
#pragma once

#include <memory>
#include <vector>

#include "core/context.h"
#include "io/generation_config.h"
#include "io/gguf.h"
#include "models/gguf_names.h"
#include "models/model.h"

namespace frugal {

struct GgufFacts;
struct GgufFamily;
class ParameterList;
enum class Weights : int;  // io/model_files.h

// Whether a path is taken for a GGUF model: by its extension.
bool is_gguf(const fs::path& path);

class GgufModel {
 public:
  // Opens the parts of a split file (NAME-00001-of-00003.gguf, the first is to be given). Error on an
  // architecture that is not supported (lists those that are), and on metadata that makes no sense.
  explicit GgufModel(const fs::path& path);

  // HF's config.json of the model, as far as the file knows it.
  const Json& config() const { return *config_; }
  const GgufFile& file() const { return *files_.front(); }

  // Replaces the parameters of `model` (made from config(), or of the same shape). Mapped weights lie as the
  // file has them: Model::set_layout is called. Error listing what is missing, unexpected or misshapen.
  void load(Context& ctx, Model& model, Weights weights) const;

 private:
  // Where a parameter is: an entry, or the part of it that belongs to one expert; two of them for split_kv.
  struct Place {
    const GgufEntry* entry = nullptr;
    const GgufEntry* second = nullptr;
    GgufLayout layout = GgufLayout::same;
    int64_t expert = -1;
    std::string name;  // wanted in the file
  };
  void open_parts(const fs::path& path);
  GgufFacts facts(const std::string& architecture) const;
  const GgufEntry* find(const std::string& name) const;
  Place place_of(const std::string& parameter) const;
  void place_alone(Place& place) const;
  void check(const ParameterList& wanted, std::span<const Place> places, Weights weights) const;
  Tensor take(Context& ctx, const Place& place, const Shape& shape, const ParameterInfo& info,
              Weights weights) const;

  std::vector<std::unique_ptr<GgufFile>> files_;
  const GgufFamily* family_ = nullptr;
  GgufWidths widths_;
  std::vector<GgufName> names_;
  std::unique_ptr<Json> config_;
};

// How the file wants to be sampled, and the tokens that end a reply.
GenerationConfig gguf_generation_config(const GgufFile& file);

}  // namespace frugal
