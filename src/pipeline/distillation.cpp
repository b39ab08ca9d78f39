#include "pipeline/distillation.h"

#include <algorithm>

#include "core/error.h"
#include "data/hash.h"
#include "io/gguf_tokenizer.h"
#include "io/model_files.h"
#include "models/model.h"

namespace frugal {
namespace {

// Of a model's files by name and content, wherever they lie.
std::string hash_of_model(const fs::path& model) {
  std::vector<fs::path> files;
  if (fs::is_directory(model)) {
    for (const auto& entry : fs::directory_iterator(model)) {
      const fs::path& path = entry.path();
      if (path.extension() == ".safetensors" || path.filename() == "config.json") files.push_back(path);
    }
    std::sort(files.begin(), files.end());
  } else {
    files = {model};
  }
  Hasher128 hasher;
  for (const fs::path& path : files) {
    const MappedFile file(path);
    hasher.update_framed(path.filename().string());
    hasher.update_framed(file.text());
  }
  return hasher.finish().hex();
}

}  // namespace

std::unique_ptr<BatchStream> training_stream(Run& run) {
  const PreparedData& data = run.data();
  const Tokenizer& tokenizer = run.tokenizer();
  return std::make_unique<BatchStream>(
      data.train, StreamOptions{.framing = {tokenizer.bos_id().value_or(-1), tokenizer.eos_id().value_or(-1)},
                                .piece_length = run.recipe.train.context,
                                .seed = static_cast<uint64_t>(run.seed),
                                .document_mask = run.recipe.data.document_mask,
                                .key = data.key});
}

fs::path teacher_cache(const Run& run) {
  const std::string& given = run.recipe.distill.cache;
  return given.empty() ? run.directory.path() / "teacher" : fs::path(given);
}

int64_t teacher_vocabulary(const Run& run) {
  return declare_model(find_model(run.recipe.distill.teacher))->shape().vocab_size;
}

CacheIdentity teacher_identity(Run& run) {
  const DistillOptions& options = run.recipe.distill;
  const fs::path teacher = find_model(options.teacher);
  const uint64_t tokens = run.tokenizer().fingerprint();
  if (!run.recipe.init.empty() && load_tokenizer(teacher).fingerprint() != tokens) {
    fail(
        "distill.teacher = \"{}\": its tokenizer is not that of init = \"{}\"; distillation needs one "
        "vocabulary",
        options.teacher, run.recipe.init);
  }
  CacheIdentity identity;
  identity.data = hash_of({run.data().key, run.recipe.data.document_mask ? "mask" : ""});
  identity.tokenizer = fmt::format("{:016x}", tokens);
  identity.teacher = hash_of_model(teacher);
  identity.kind = options.kind;
  identity.vocab_size = teacher_vocabulary(run);
  identity.context = run.recipe.train.context;
  const bool sampled = options.parsed_kind() == CacheKind::sampled;
  identity.draws = sampled ? options.draws : 0;
  identity.top_k = sampled ? 0 : options.top_k;
  identity.seed = run.seed;
  return identity;
}

// One small file a run, named by a hash of its place: no lock is needed, and a run counts once however often
// it is continued.
Json charge_cache(const Run& run, const CacheReader& cache) {
  const fs::path uses = teacher_cache(run) / "runs";
  make_directories(uses);
  const std::string here = fs::absolute(run.directory.path()).lexically_normal().string();
  write_file_atomically(uses / (hash_of({here}) + ".txt"), here + "\n");
  const auto runs = std::distance(fs::directory_iterator(uses), fs::directory_iterator());
  const Json facts = parse_json(cache.facts(), "cache.json");
  Json share = {{"runs", runs}};
  for (const char* key : {"seconds", "joules", "dollars"}) {
    share[key] = facts.value(key, 0.0) / static_cast<double>(std::max<ptrdiff_t>(1, runs));
  }
  return share;
}

}  // namespace frugal
