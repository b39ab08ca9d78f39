#include "data/prepare.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <map>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/files.h"
#include "core/json.h"
#include "data/byte_reader.h"
#include "data/corpus_builder.h"
#include "data/hash.h"

namespace frugal {
namespace {

constexpr uint64_t kCacheVersion = 1;  // of everything between a file's bytes and a shard's

// Held by whoever builds a key's folder. The system drops it when its holder dies.
class FolderLock {
 public:
  explicit FolderLock(const fs::path& path) {
    descriptor_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (descriptor_ < 0) fail("{}: cannot write: {}", path.string(), std::strerror(errno));
    while (::flock(descriptor_, LOCK_EX) != 0) {
      if (errno != EINTR) fail("{}: cannot lock: {}", path.string(), std::strerror(errno));
    }
  }
  ~FolderLock() { ::close(descriptor_); }
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;

 private:
  int descriptor_ = -1;
};

void check_options(const DataOptions& options) {
  if (options.train.empty()) fail_usage("data.train: name the files to train on");
  if (!options.weights.empty() && options.weights.size() != options.train.size()) {
    fail_usage("data.weights has {} numbers for {} entries of data.train; give one for each",
               options.weights.size(), options.train.size());
  }
  for (const double weight : options.weights) {
    if (!(weight > 0) || !std::isfinite(weight))
      fail_usage("data.weights: {}: expected numbers above 0", weight);
  }
  if (!(options.valid_fraction >= 0 && options.valid_fraction <= 0.5)) {
    fail_usage("data.valid_fraction = {}: expected 0 to 0.5", options.valid_fraction);
  }
  if (options.section_bytes < 256 || options.section_bytes > int64_t{1} << 30) {
    fail_usage("data.section_bytes = {}: expected 256 to 2^30", options.section_bytes);
  }
  parse_invalid_utf8(options.invalid_utf8, "data.invalid_utf8");
  if (options.near_duplicates) NearDuplicates{options.near_duplicate_threshold};  // checks the threshold
}

CorpusPlan make_plan(const DataOptions& options) {
  CorpusPlan plan{.options = options};
  if (options.weights.empty()) {
    plan.train.push_back(expand_patterns(options.train, "data.train"));
  } else {
    for (const auto& pattern : options.train) plan.train.push_back(expand_pattern(pattern, "data.train"));
  }
  if (!options.valid.empty()) plan.valid = expand_patterns(options.valid, "data.valid");
  std::map<fs::path, int> held;
  for (const auto& file : plan.valid) held[fs::weakly_canonical(file)] = 1;
  for (const auto& files : plan.train) {
    for (const auto& file : files) {
      if (held.contains(fs::weakly_canonical(file))) fail("data.valid: '{}' is also in data.train", file);
    }
  }
  return plan;
}

// Content and kind of a file; its name does not matter.
Hash128 hash_file(const std::string& file, int64_t& bytes) {
  Hasher128 hasher;
  const fs::path path(file);
  hasher.update_framed(path.extension().string());
  hasher.update_framed(path.stem().extension().string());
  const MappedFile map(path);
  hasher.update(map.text());
  bytes = static_cast<int64_t>(map.text().size());
  return hasher.finish();
}

std::string cache_key(CorpusPlan& plan, const Tokenization& tokenization, ThreadPool& pool) {
  std::vector<std::pair<size_t, std::string>> files;  // with their source; 0 is validation
  for (const auto& file : plan.valid) files.emplace_back(0, file);
  for (size_t i = 0; i < plan.train.size(); ++i) {
    for (const auto& file : plan.train[i]) files.emplace_back(i + 1, file);
  }
  std::vector<Hash128> hashes(files.size());
  std::vector<int64_t> bytes(files.size());
  pool.parallel_for(static_cast<int64_t>(files.size()), 1, [&](int64_t begin, int64_t end, int) {
    for (auto i = static_cast<size_t>(begin); i < static_cast<size_t>(end); ++i) {
      hashes[i] = hash_file(files[i].second, bytes[i]);
    }
  });
  Hasher128 hasher;
  hasher.update_number(kCacheVersion);
  hasher.update_number(kShardVersion);
  hasher.update_framed(tokenization.hash);
  hasher.update_number(static_cast<uint64_t>(tokenization.vocab_size));
  const DataOptions& options = plan.options;
  const double threshold = options.near_duplicates ? options.near_duplicate_threshold : 0;
  hasher.update_framed(fmt::format("{} {} {} {} {}", options.deduplicate, threshold, options.invalid_utf8,
                                   plan.valid.empty() ? options.valid_fraction : 0, options.section_bytes));
  for (size_t i = 0; i < files.size(); ++i) {
    hasher.update_number(files[i].first);
    hasher.update_number(hashes[i].high);
    hasher.update_number(hashes[i].low);
    plan.file_bytes += bytes[i];
  }
  return hasher.finish().hex();
}

// Reads a folder that a builder finished.
PreparedData open_folder(const fs::path& folder, const std::string& key, const DataOptions& options) {
  const auto unusable = [&](const std::string& reason) {
    fail("{}: cached tokens are unusable: {}; delete this folder and run again to rebuild them",
         folder.string(), reason);
  };
  PreparedData data;
  data.key = key;
  try {
    const Json manifest = read_json_file(folder / "manifest.json");
    if (manifest.at("key").get<std::string>() != key) unusable("it was made for other data");
    read_fields(data.report, manifest.at("report"), (folder / "manifest.json").string(), UnknownKeys::ignore);
    for (const auto& files : manifest.at("train")) {
      data.train.push_back({TokenSet::open(folder, files.get<std::vector<std::string>>(), folder)});
    }
    data.valid = TokenSet::open(folder, manifest.at("valid").get<std::vector<std::string>>(), folder);
  } catch (const nlohmann::json::exception&) {
    unusable("manifest.json is damaged");
  } catch (const Error& error) {
    const std::string_view message = error.what();
    if (message.find("cached tokens are unusable") != std::string_view::npos) throw;
    unusable(error.what());
  }
  int64_t train_tokens = 0;
  for (const auto& source : data.train) train_tokens += source.tokens.tokens();
  if (train_tokens != data.report.train_tokens || data.valid.tokens() != data.report.valid_tokens) {
    unusable("a shard is not the one that was written");
  }
  CHECK(options.weights.empty() || options.weights.size() == data.train.size());
  for (size_t i = 0; i < options.weights.size(); ++i) data.train[i].weight = options.weights[i];
  return data;
}

// Builds into `folder` (which is empty), choosing what to hold out so that both parts have documents.
BuiltCorpus build_corpus(CorpusPlan& plan, const Tokenization& tokenization, ThreadPool& pool,
                         const PrepareProgress& progress, const fs::path& folder) {
  CorpusBuilder builder(plan, tokenization, pool, progress);
  const DataOptions& options = plan.options;
  const bool split = plan.valid.empty() && options.valid_fraction > 0;
  int64_t section_bytes = options.section_bytes;
  const auto build = [&](const HoldOut& hold_out) {
    fs::remove_all(folder);
    make_directories(folder);
    return builder.build(folder, hold_out, section_bytes);
  };
  BuiltCorpus corpus = build({split ? options.valid_fraction : 0, {}});
  if (split && corpus.candidates == 1) {  // a single short text: cut it finer
    const int64_t bytes = corpus.report.train_bytes + corpus.report.valid_bytes;
    section_bytes = std::max<int64_t>(256, std::min(bytes, section_bytes) / 20);
    corpus = build({options.valid_fraction, {}});
  }
  if (corpus.candidates == 0) {
    const PrepareReport& r = corpus.report;
    fail("data.train: no text is left: of {} documents {} are blank, {} duplicates, {} part of data.valid",
         r.documents_read, r.blank, r.exact_duplicates + r.near_duplicates, r.in_validation);
  }
  if (split && (corpus.report.valid_documents == 0 || corpus.report.train_documents == 0)) {
    corpus = build({0, corpus.lowest});  // a small corpus: exactly the document of the lowest hash
    if (corpus.report.train_documents == 0) {
      fail(
          "data.train has one document only, so none can be held out; name data.valid, or set "
          "data.valid_fraction = 0");
    }
  }
  for (size_t i = 0; i < plan.train.size(); ++i) {
    if (corpus.train_shards[i].empty())
      fail("data.train: '{}' has no text left after cleaning", options.train[i]);
  }
  return corpus;
}

PreparedData prepare(CorpusPlan plan, const Tokenization& tokenization, const fs::path& cache,
                     ThreadPool& pool, const PrepareProgress& progress) {
  CHECK(tokenization.encode && tokenization.vocab_size > 0);
  const std::string key = cache_key(plan, tokenization, pool);
  const fs::path folder = cache / key;
  std::error_code error;
  const auto cached = [&] {
    PreparedData data = open_folder(folder, key, plan.options);
    data.report.from_cache = true;
    return data;
  };
  if (fs::exists(folder, error)) return cached();
  make_directories(cache);
  const FolderLock lock(cache / (key + ".lock"));
  if (fs::exists(folder, error)) return cached();  // another process was faster
  const fs::path partial = cache / (key + ".partial");
  try {
    BuiltCorpus corpus = build_corpus(plan, tokenization, pool, progress, partial);
    corpus.report.file_bytes = plan.file_bytes;
    write_json_file(partial / "manifest.json", {{"version", kCacheVersion},
                                                {"key", key},
                                                {"train", corpus.train_shards},
                                                {"valid", corpus.valid_shards},
                                                {"report", write_fields(corpus.report)}});
    sync_directory(partial);
    fs::rename(partial, folder);
    sync_directory(cache);
  } catch (const fs::filesystem_error& failure) {
    fail("{}: {}", cache.string(), failure.what());
  } catch (...) {
    fs::remove_all(partial, error);
    throw;
  }
  return open_folder(folder, key, plan.options);
}

}  // namespace

PreparedData prepare_data(const DataOptions& options, const Tokenization& tokenization, const fs::path& cache,
                          ThreadPool& pool, const PrepareProgress& progress) {
  check_options(options);
  return prepare(make_plan(options), tokenization, cache, pool, progress);
}

TokenSet prepare_files(const std::vector<std::string>& patterns, const Tokenization& tokenization,
                       const fs::path& cache, ThreadPool& pool) {
  CorpusPlan plan;
  plan.train.push_back(expand_patterns(patterns, "file"));
  plan.options.train = patterns;
  plan.options.deduplicate = false;
  plan.options.valid_fraction = 0;
  return prepare(std::move(plan), tokenization, cache, pool, {}).train[0].tokens;
}

}  // namespace frugal
