// Targets that read weights and training text: files in memory, under the names that the readers look for.
#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "data/source.h"
#include "io/gguf_model.h"
#include "io/gguf_tokenizer.h"
#include "io/model_files.h"
#include "io/safetensors.h"
#include "kernels/dispatch.h"
#include "memory_file.h"
#include "models/model.h"
#include "targets.h"

namespace frugal::fuzz {
namespace {

// A file in memory that is found as DIRECTORY/NAME as well.
class NamedFile {
 public:
  explicit NamedFile(const std::string& name) {
    std::string pattern = (fs::temp_directory_path() / "frugal-fuzz-XXXXXX").string();
    CHECK(::mkdtemp(pattern.data()) != nullptr);
    directory_ = pattern;
    path_ = directory_ / name;
    fs::create_symlink(memory_.path(), path_);
  }
  ~NamedFile() {
    std::error_code ignored;
    fs::remove_all(directory_, ignored);
  }
  NamedFile(const NamedFile&) = delete;
  NamedFile& operator=(const NamedFile&) = delete;
  void set(std::string_view content) { memory_.set(content); }
  const fs::path& directory() const { return directory_; }
  const fs::path& path() const { return path_; }

 private:
  MemoryFile memory_;
  fs::path directory_, path_;
};

Context& context() {
  static ThreadPool pool(1);
  static Context ctx{.pool = pool, .kernels = kernels::best()};
  return ctx;
}

void every_value(const GgufFile& file) {
  for (const GgufField& field : file.metadata()) {
    tolerate([&] { file.integer(field.key); });
    tolerate([&] { file.number(field.key); });
    tolerate([&] { file.boolean(field.key); });
    tolerate([&] { file.text(field.key); });
    tolerate([&] { file.integers(field.key); });
    tolerate([&] { file.numbers(field.key); });
    tolerate([&] { file.texts(field.key); });
  }
}

// Loads the weights and lets the model say one token.
void one_step(const GgufModel& file) {
  Context& ctx = context();
  const auto model = create_model(file.config());
  file.load(ctx, *model, Weights::mapped);
  const auto last = static_cast<int32_t>(model->shape().vocab_size - 1);
  const Hidden hidden = model->forward(ctx, Batch::single({last}), nullptr);
  logits(ctx, *model, hidden.normed);
}

}  // namespace

void safetensors(std::string_view input) {
  static NamedFile weights("model.safetensors"), index("model.safetensors.index.json");
  weights.set(input);
  tolerate([] {
    const SafetensorsFile file(weights.path());
    for (const SafetensorsEntry& entry : file.entries()) {
      CHECK(file.find(entry.name) == &entry);
      for (const std::byte b : entry.data) static_cast<void>(*const_cast<const volatile std::byte*>(&b));
    }
  });
  index.set(input);
  tolerate([] { const SafetensorsDirectory directory(index.directory()); });
}

void gguf(std::string_view input) {
  static NamedFile named("model.gguf");
  named.set(input);
  tolerate([] { every_value(GgufFile(named.path())); });
  tolerate([] { gguf_generation_config(GgufFile(named.path())); });
  tolerate([] {
    const Tokenizer tokenizer = load_tokenizer(named.path());
    tolerate([&] {
      const auto ids =
          tokenizer.encode("Kalo mi <|bos|> 123\xFF", {.add_special = true, .parse_special = true});
      tokenizer.decode(ids);
    });
    tolerate([&] { Tokenizer::from_json(tokenizer.json(), tokenizer.config_json(), "converted"); });
  });
  tolerate([] { one_step(GgufModel(named.path())); });
}

void source(std::string_view input) {
  static constexpr std::array<const char*, 5> kNames = {"t.txt", "t.jsonl", "t.txt.gz", "t.jsonl.gz",
                                                        "t.jsonl.zst"};
  static std::array<std::unique_ptr<NamedFile>, kNames.size()> files;
  if (input.empty()) return;
  const size_t kind = static_cast<unsigned char>(input[0]) % kNames.size();
  if (!files[kind]) files[kind] = std::make_unique<NamedFile>(kNames[kind]);
  files[kind]->set(input.substr(1));
  for (const InvalidUtf8 invalid : {InvalidUtf8::error, InvalidUtf8::replace}) {
    int64_t most = 16 << 20;  // bytes of text: what is compressed may be long
    tolerate([&] {
      for_each_document({files[kind]->path().string()}, {.invalid_utf8 = invalid},
                        [&](const Document& document) {
                          most -= document.bytes() + 64;
                          document.blank();
                          return most > 0;
                        });
    });
  }
}

}  // namespace frugal::fuzz
