#include "distill/cache.h"

#include <unistd.h>
#include <zstd.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/files.h"
#include "data/hash.h"

namespace frugal {
namespace {

constexpr int64_t kLayout = 2;
constexpr const char* kManifest = "cache.json";
constexpr int kCompression = 3;

std::string shard_name(int64_t begin, int64_t end) {
  return fmt::format("rows-{:012}-{:012}.zst", begin, end - 1);
}

// Begin and end of the rows that a file of this name holds.
std::optional<std::pair<int64_t, int64_t>> shard_rows(const std::string& name) {
  long long first = 0, last = 0;
  int used = 0;
  if (std::sscanf(name.c_str(), "rows-%12lld-%12lld.zst%n", &first, &last, &used) != 2) return std::nullopt;
  if (name != shard_name(first, last + 1) || last < first) return std::nullopt;
  return std::pair{static_cast<int64_t>(first), static_cast<int64_t>(last) + 1};
}

std::string compressed(std::string_view content) {
  std::string out(ZSTD_compressBound(content.size()), '\0');
  ZSTD_CCtx* context = ZSTD_createCCtx();
  ZSTD_CCtx_setParameter(context, ZSTD_c_compressionLevel, kCompression);
  ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag, 1);
  const size_t size = ZSTD_compress2(context, out.data(), out.size(), content.data(), content.size());
  ZSTD_freeCCtx(context);
  CHECK(!ZSTD_isError(size), "zstd: {}", ZSTD_getErrorName(size));
  out.resize(size);
  return out;
}

// `limit`: more than any whole shard of its rows can have, so that a file cannot make us take the machine's
// memory.
std::string decompressed(const fs::path& path, uint64_t limit) {
  const std::string file = read_file(path);
  const unsigned long long size = ZSTD_getFrameContentSize(file.data(), file.size());
  if (size == ZSTD_CONTENTSIZE_ERROR || size == ZSTD_CONTENTSIZE_UNKNOWN || size > limit) {
    fail("{}: damaged: not a shard of a teacher's cache; delete it and run 'frugal distill cache' again",
         path.string());
  }
  std::string out(static_cast<size_t>(size), '\0');
  const size_t got = ZSTD_decompress(out.data(), out.size(), file.data(), file.size());
  if (ZSTD_isError(got) || got != out.size()) {
    fail("{}: damaged: {}; delete it and run 'frugal distill cache' again", path.string(),
         ZSTD_isError(got) ? ZSTD_getErrorName(got) : "it ends too early");
  }
  return out;
}

struct Found {
  int64_t begin, end;
  fs::path path;
};

// Shards that follow one another from row 0.
std::vector<Found> find_shards(const fs::path& folder) {
  std::vector<Found> all;
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (const auto rows = shard_rows(entry.path().filename().string())) {
      all.push_back({rows->first, rows->second, entry.path()});
    }
  }
  std::ranges::sort(all, {}, &Found::begin);
  for (size_t i = 0; i < all.size(); ++i) {
    const int64_t expected = i == 0 ? 0 : all[i - 1].end;
    if (all[i].begin != expected) {
      fail("{}: rows {} to {} are missing or there twice", folder.string(), std::min(expected, all[i].begin),
           std::max(expected, all[i].begin) - 1);
    }
  }
  return all;
}

Json read_manifest(const fs::path& folder) {
  const fs::path path = folder / kManifest;
  if (!fs::exists(path)) {
    fail("{}: there is no {}: not a teacher's cache; 'frugal distill cache RECIPE' makes one",
         folder.string(), kManifest);
  }
  const Json json = parse_json(read_file(path), path.string());
  if (!json.is_object() || json.value("layout", Json()) != kLayout || !json.contains("identity")) {
    fail("{}: not a teacher's cache of layout {}", path.string(), kLayout);
  }
  return json;
}

CacheIdentity identity_of(const Json& manifest, const fs::path& folder) {
  CacheIdentity identity;
  read_fields(identity, manifest.at("identity"), (folder / kManifest).string());
  const std::string where = (folder / kManifest).string();
  parse_cache_kind(identity.kind);
  if (identity.vocab_size < 1 || identity.context < 1 || identity.scale() < 1) {
    fail("{}: impossible vocabulary, context or number of draws", where);
  }
  return identity;
}

// Made once: a cache keeps it when its folder moves.
std::string new_id(const fs::path& folder) {
  Hasher128 hasher;
  hasher.update_framed(fs::absolute(folder).string());
  hasher.update_number(static_cast<uint64_t>(::getpid()));
  hasher.update_number(static_cast<uint64_t>(std::chrono::system_clock::now().time_since_epoch().count()));
  return hasher.finish().hex();
}

std::string text_of(const Json& manifest, const char* key, const fs::path& folder) {
  const Json value = manifest.value(key, Json());
  if (!value.is_string()) fail("{}: \"{}\" is missing", (folder / kManifest).string(), key);
  return value.get<std::string>();
}

// Of the parts in which two identities differ, the first: "data: ... here, ... there".
void require_same(const CacheIdentity& cache, const CacheIdentity& wanted, const fs::path& folder) {
  const Json a = write_fields(cache), b = write_fields(wanted);
  for (const auto& [key, value] : a.items()) {
    if (b.at(key) == value) continue;
    fail("{}: the cache was made from another {} ({} there, {} wanted): make a new one in another folder",
         folder.string(), key, to_text(value), to_text(b.at(key)));
  }
}

}  // namespace

void CacheIdentity::visit(FieldVisitor& v) {
  v.field("data", data, "documents, cleaning, order and packing");
  v.field("tokenizer", tokenizer, "what decides the ids");
  v.field("teacher", teacher, "its weights");
  v.field("kind", kind, "sampled or top_k");
  v.field("vocab_size", vocab_size, "ids of the teacher");
  v.field("context", context, "tokens a row");
  v.field("draws", draws, "a token, sampled");
  v.field("top_k", top_k, "ids a token, top_k");
  v.field("seed", seed, "of the data's order and the draws");
}

void TeacherRows::append(const std::optional<SparseDistribution>& distribution, CacheKind kind) {
  double sum = 0;
  if (distribution) {
    ids.insert(ids.end(), distribution->ids.begin(), distribution->ids.end());
    weights.insert(weights.end(), distribution->weights.begin(), distribution->weights.end());
    for (const float w : distribution->weights) sum += static_cast<double>(w);
  }
  offsets.push_back(static_cast<int64_t>(ids.size()));
  if (kind == CacheKind::top_k) {
    tails.push_back(distribution ? static_cast<float>(std::max(0.0, 1 - sum)) : 0.0f);
  }
}

uint64_t row_hash(const TrainBatch& batch, int64_t row) {
  const auto begin = static_cast<size_t>(row * batch.length), bytes = static_cast<size_t>(batch.length) * 4;
  Hasher128 hasher;
  hasher.update(batch.tokens.data() + begin, bytes);
  hasher.update(batch.targets.data() + begin, bytes);
  hasher.update(batch.positions.data() + begin, bytes);
  return hasher.finish().low;
}

CacheWriter::CacheWriter(const fs::path& folder, const CacheIdentity& identity, int64_t rows_per_shard)
    : folder_(folder),
      identity_(identity),
      rows_per_shard_(rows_per_shard),
      writer_(identity.parsed_kind(), identity.vocab_size, identity.scale()) {
  CHECK(rows_per_shard > 0);
  if (fs::exists(folder) && !fs::is_empty(folder)) {
    const Json manifest = read_manifest(folder);
    require_same(identity_of(manifest, folder), identity, folder);
    id_ = text_of(manifest, "id", folder);
    facts_ = to_text(manifest.value("facts", Json::object()));
    const std::vector<Found> shards = find_shards(folder);
    if (!shards.empty()) rows_ = shards.back().end;
    return;
  }
  make_directories(folder);
  id_ = new_id(folder);
  write_manifest();
}

void CacheWriter::write_manifest() const {
  const Json manifest = {{"layout", kLayout},
                         {"id", id_},
                         {"identity", write_fields(identity_)},
                         {"facts", parse_json(facts_, "facts")}};
  write_file_atomically(folder_ / kManifest, to_text(manifest, 2) + "\n");
}

void CacheWriter::add(uint64_t hash, const std::vector<std::optional<SparseDistribution>>& tokens) {
  CHECK(static_cast<int64_t>(tokens.size()) == identity_.context);
  hashes_.append(reinterpret_cast<const char*>(&hash), sizeof hash);
  for (const auto& token : tokens) writer_.add(token);
  if (++pending_ == rows_per_shard_) write_shard();
}

// The rows' hashes, then their distributions.
void CacheWriter::write_shard() {
  if (pending_ == 0) return;
  write_file_atomically(folder_ / shard_name(rows_, rows_ + pending_),
                        compressed(std::exchange(hashes_, {}) + writer_.take()));
  rows_ += pending_;
  pending_ = 0;
}

void CacheWriter::note(const Json& facts) {
  facts_ = to_text(facts);
  write_manifest();
}

void CacheWriter::finish(const Json& facts) {
  write_shard();
  note(facts);
}

CacheReader::CacheReader(const fs::path& folder) : folder_(folder) {
  const Json manifest = read_manifest(folder);
  identity_ = identity_of(manifest, folder);
  id_ = text_of(manifest, "id", folder);
  facts_ = to_text(manifest.value("facts", Json::object()));
  for (const Found& found : find_shards(folder)) {
    shards_.push_back({found.begin, found.end, found.path});
    bytes_ += static_cast<int64_t>(fs::file_size(found.path));
  }
  if (shards_.empty()) fail("{}: the cache has no rows yet: the teacher was stopped early", folder.string());
  rows_ = shards_.back().end;
}

void CacheReader::require(const CacheIdentity& wanted) const {
  require_same(identity_, wanted, folder_);
}

const CacheReader::Decoded& CacheReader::decoded(const Shard& shard) {
  if (const auto found = loaded_.find(shard.begin); found != loaded_.end()) return found->second;
  while (loaded_.size() >= 2)
    loaded_.erase(loaded_.begin()->first < shard.begin ? loaded_.begin() : std::prev(loaded_.end()));
  const int64_t rows = shard.end - shard.begin, tokens = rows * identity_.context;
  constexpr uint64_t kBytesAnId = 16;  // far more than any code takes
  const uint64_t limit =
      static_cast<uint64_t>(tokens) * static_cast<uint64_t>(identity_.scale() + 1) * kBytesAnId;
  const std::string content = decompressed(shard.path, limit);
  const size_t hash_bytes = static_cast<size_t>(rows) * sizeof(uint64_t);
  Decoded out;
  try {
    if (content.size() < hash_bytes) fail("damaged: it has less than {} rows", rows);
    out.hashes.resize(static_cast<size_t>(rows));
    std::memcpy(out.hashes.data(), content.data(), hash_bytes);
    DistributionReader reader(identity_.parsed_kind(), identity_.vocab_size, identity_.scale(),
                              std::string_view(content).substr(hash_bytes));
    for (int64_t i = 0; i < tokens; ++i) out.tokens.append(reader.next(), identity_.parsed_kind());
  } catch (const Error& error) {
    fail("{}: {}", shard.path.string(), error.what());
  }
  return loaded_.emplace(shard.begin, std::move(out)).first->second;
}

TeacherRows CacheReader::read(int64_t first, const TrainBatch& batch) {
  CHECK(first >= 0 && first + batch.rows <= rows_ && batch.length == identity_.context);
  TeacherRows out;
  for (int64_t row = first; row < first + batch.rows; ++row) {
    const auto shard = std::ranges::find_if(shards_, [&](const Shard& s) { return row < s.end; });
    const Decoded& from = decoded(*shard);
    const int64_t within = row - shard->begin;
    if (from.hashes[static_cast<size_t>(within)] != row_hash(batch, row - first)) {
      fail("{}: row {} of the data is not the one that the teacher read: the cache is of other data",
           folder_.string(), row);
    }
    const auto begin = static_cast<size_t>(within * identity_.context);
    const size_t end = begin + static_cast<size_t>(identity_.context);
    const int64_t shift = out.offsets.back() - from.tokens.offsets[begin];
    for (size_t i = begin; i < end; ++i) out.offsets.push_back(from.tokens.offsets[i + 1] + shift);
    const auto copy = [&](const auto& values, auto& to, size_t a, size_t b) {
      to.insert(to.end(), values.begin() + static_cast<ptrdiff_t>(a),
                values.begin() + static_cast<ptrdiff_t>(b));
    };
    const auto a = static_cast<size_t>(from.tokens.offsets[begin]),
               b = static_cast<size_t>(from.tokens.offsets[end]);
    copy(from.tokens.ids, out.ids, a, b);
    copy(from.tokens.weights, out.weights, a, b);
    if (!from.tokens.tails.empty()) copy(from.tokens.tails, out.tails, begin, end);
  }
  return out;
}

}  // namespace frugal
