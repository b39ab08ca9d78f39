#include "io/generation_config.h"

#include <nlohmann/json.hpp>

#include "core/json.h"
#include "io/gguf_model.h"
#include "io/peft.h"

namespace frugal {

GenerationConfig read_generation_config(const fs::path& directory) {
  if (is_gguf(directory)) return gguf_generation_config(GgufFile(directory));
  const fs::path own = directory / "generation_config.json", model = directory / "config.json";
  GenerationConfig config;
  const auto read = [&](const fs::path& path) {
    Json json = read_json_file(path);
    for (const char* key : {"eos_token_id"}) {
      if (json.is_object() && json.contains(key) && json[key].is_null()) json.erase(key);
    }
    read_fields(config, json, path.string(), UnknownKeys::ignore);
  };
  if (fs::exists(own)) {
    read(own);
    // A file that leaves the end open means the model's own.
    if (!config.eos_token_id.empty() || !fs::exists(model)) return config;
    GenerationConfig ids;
    std::swap(ids, config);
    read(model);
    ids.eos_token_id = config.eos_token_id;
    if (!ids.bos_token_id) ids.bos_token_id = config.bos_token_id;
    return ids;
  }
  if (fs::exists(model)) {
    read(model);
  } else if (is_adapter(directory)) {
    return read_generation_config(adapter_base(directory));
  }
  return config;
}

}  // namespace frugal
