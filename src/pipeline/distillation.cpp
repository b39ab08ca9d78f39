#include "pipeline/distillation.h"

#include <algorithm>

#include "core/error.h"
#include "data/hash.h"
#include "io/gguf_tokenizer.h"
#include "io/model_files.h"
#include "models/model.h"
#include "tune/problems.h"
#include "tune/sequence.h"

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
  if (!options.crosses() && !run.recipe.init.empty() && load_tokenizer(teacher).fingerprint() != tokens) {
    fail(
        "distill.teacher = \"{}\": its tokenizer is not that of init = \"{}\"; distillation needs one "
        "vocabulary, or distill.divergence = \"uld\" or \"alm\" beside the teacher (distill.how = "
        "\"online\")",
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

std::vector<std::vector<int32_t>> student_prompts(const Run& run, const Tokenizer& tokenizer) {
  std::vector<std::vector<int32_t>> out;
  const std::vector<std::string>& files = run.recipe.distill.prompts;
  if (files.empty()) return out;
  const SequenceBuilder builder(tokenizer, Turns::all);
  const std::vector<Problem> problems = read_problems(files, "distill.prompts", false);
  for (const Problem& problem : problems) {
    std::vector<int32_t> ids = problem.messages_json.empty()
                                   ? builder.text_prompt(problem.text, problem.where)
                                   : builder.prompt(problem.messages_json, problem.where);
    if (std::ssize(ids) < run.recipe.train.context) out.push_back(std::move(ids));
  }
  if (out.empty()) {
    fail("distill.prompts: none of the {} prompts leaves room for an answer in train.context = {}",
         problems.size(), run.recipe.train.context);
  }
  if (out.size() < problems.size()) {
    run.settings.observer.note(fmt::format("distill.prompts: {} of {} leave no room for an answer: left out",
                                           problems.size() - out.size(), problems.size()));
  }
  return out;
}

Bill cost_of(const std::string& cache_facts) {
  const Json facts = parse_json(cache_facts, "a teacher's cache");
  Bill bill;
  if (facts.contains("bill")) read_fields(bill, facts["bill"], "a teacher's cache");
  return bill;
}

// One small file a run, named by a hash of its place: no lock is needed, and a run counts once however often
// it is continued.
Json charge_cache(const Run& run, const CacheReader& cache, int64_t tokens) {
  const fs::path uses = teacher_cache(run) / "runs";
  make_directories(uses);
  const std::string here = fs::absolute(run.directory.path()).lexically_normal().string();
  write_file_atomically(uses / (hash_of({here}) + ".json"),
                        to_text(Json{{"run", here}, {"tokens", tokens}}) + "\n");
  int64_t runs = 0, all = 0;
  for (const auto& entry : fs::directory_iterator(uses)) {
    if (entry.path().extension() != ".json") continue;  // being written
    const Json use = read_json_file(entry.path());
    const Json count = use.is_object() ? use.value("tokens", Json()) : Json();
    if (!count.is_number_integer() || count.get<int64_t>() < 0) {
      fail("{}: damaged: no number of \"tokens\"; delete it", entry.path().string());
    }
    ++runs;
    all += count.get<int64_t>();
  }
  const double fraction = all > 0 ? static_cast<double>(tokens) / static_cast<double>(all) : 0;
  const Bill bill = cost_of(cache.facts());
  Share share;
  share.add(bill, fraction);
  Json json = write_fields(share);
  json.update({{"runs", runs}, {"fraction", fraction}, {"seconds", fraction * bill.seconds}});
  return json;
}

}  // namespace frugal
