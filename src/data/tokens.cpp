#include "data/tokens.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "core/error.h"
#include "core/files.h"
#include "data/hash.h"

namespace frugal {
namespace {

constexpr char kMagic[9] = "FRGTOKEN";
constexpr int64_t kHeader = 16, kTrailer = 40;  // bytes

struct Header {
  char magic[8];
  uint32_t version, id_bytes;
};
struct Counts {
  uint64_t documents, tokens, text_bytes;
};
static_assert(sizeof(Header) == kHeader && sizeof(Counts) + sizeof(Hash128) == kTrailer);

}  // namespace

struct TokenWriter::Open {
  explicit Open(const fs::path& path) : file(path) {}
  void write(const void* data, size_t bytes) {
    file.write(data, bytes);
    hasher.update(data, bytes);
  }
  AtomicFile file;
  Hasher128 hasher;
  std::vector<uint64_t> offsets{0}, text_bytes;
  std::vector<uint16_t> narrow;
};

TokenWriter::TokenWriter(fs::path directory, std::string name, bool wide_ids, int64_t shard_tokens)
    : directory_(std::move(directory)),
      name_(std::move(name)),
      wide_(wide_ids),
      shard_tokens_(shard_tokens) {}
TokenWriter::~TokenWriter() = default;

void TokenWriter::add(std::span<const int32_t> ids, int64_t text_bytes) {
  if (!open_) {
    files_.push_back(fmt::format("{}-{:05}.tokens", name_, files_.size()));
    open_ = std::make_unique<Open>(directory_ / files_.back());
    Header header{{}, kShardVersion, wide_ ? 4u : 2u};
    std::memcpy(header.magic, kMagic, 8);
    open_->write(&header, sizeof header);
  }
  if (wide_) {
    open_->write(ids.data(), ids.size_bytes());
  } else {
    open_->narrow.assign(ids.begin(), ids.end());
    open_->write(open_->narrow.data(), ids.size() * sizeof(uint16_t));
  }
  const auto count = static_cast<int64_t>(ids.size());
  open_->offsets.push_back(open_->offsets.back() + ids.size());
  open_->text_bytes.push_back(static_cast<uint64_t>(text_bytes));
  ++documents_;
  tokens_ += count;
  text_bytes_ += text_bytes;
  if (static_cast<int64_t>(open_->offsets.back()) >= shard_tokens_ ||
      static_cast<int64_t>(open_->text_bytes.size()) >= kShardDocuments) {
    close_shard();
  }
}

void TokenWriter::close_shard() {
  if (!open_) return;
  const uint64_t id_bytes = wide_ ? 4 : 2;
  constexpr uint64_t kZero = 0;
  open_->write(&kZero, (8 - open_->offsets.back() * id_bytes % 8) % 8);
  open_->write(open_->offsets.data(), open_->offsets.size() * sizeof(uint64_t));
  open_->write(open_->text_bytes.data(), open_->text_bytes.size() * sizeof(uint64_t));
  Counts counts{open_->text_bytes.size(), open_->offsets.back(), 0};
  for (const uint64_t bytes : open_->text_bytes) counts.text_bytes += bytes;
  open_->write(&counts, sizeof counts);
  const Hash128 checksum = open_->hasher.finish();
  open_->file.write(&checksum, sizeof checksum);
  open_->file.commit();
  open_.reset();
}

std::vector<std::string> TokenWriter::finish() {
  close_shard();
  return files_;
}

struct TokenSet::Shard {
  std::unique_ptr<MappedFile> map;  // a file's shard keeps its map,
  std::vector<int32_t> owned_ids;   // one in memory its own vectors
  std::vector<uint64_t> owned_offsets, owned_bytes;
  const uint16_t* narrow = nullptr;  // one of narrow and wide
  const int32_t* wide = nullptr;
  const uint64_t* offsets = nullptr;
  const uint64_t* text_bytes = nullptr;
  Counts counts{};
};

// Points into the map after checking that every part of the file is what its counts say.
static const char* shard_problem(std::string_view bytes, Header& header, Counts& counts) {
  if (bytes.size() < kHeader + kTrailer) return "it is too short";
  std::memcpy(&header, bytes.data(), sizeof header);
  if (std::memcmp(header.magic, kMagic, 8) != 0) return "it is not a token shard";
  if (header.version != kShardVersion) return "its version is another";
  if (header.id_bytes != 2 && header.id_bytes != 4) return "its ids have an impossible size";
  std::memcpy(&counts, bytes.data() + bytes.size() - kTrailer, sizeof counts);
  const uint64_t size = bytes.size();
  if (counts.tokens > size || counts.documents > size) return "it ends early or is damaged";
  const uint64_t ids = (counts.tokens * header.id_bytes + 7) / 8 * 8;
  if (kHeader + ids + 8 * (2 * counts.documents + 1) + kTrailer != size) return "it ends early or is damaged";
  Hash128 stored;
  std::memcpy(&stored, bytes.data() + size - sizeof stored, sizeof stored);
  if (hash128(bytes.substr(0, size - sizeof stored)) != stored) return "its checksum differs";
  return nullptr;
}

TokenSet TokenSet::open(const fs::path& directory, const std::vector<std::string>& files,
                        const fs::path& advice) {
  TokenSet set;
  for (const auto& file : files) {
    auto shard = std::make_shared<Shard>();
    shard->map = std::make_unique<MappedFile>(directory / file);
    const std::string_view bytes = shard->map->text();
    Header header{};
    if (const char* problem = shard_problem(bytes, header, shard->counts)) {
      fail("{}: cached tokens are unusable: {}; delete {} and run again to rebuild them",
           (directory / file).string(), problem, advice.string());
    }
    const char* ids = bytes.data() + kHeader;
    if (header.id_bytes == 2) {
      shard->narrow = reinterpret_cast<const uint16_t*>(ids);
    } else {
      shard->wide = reinterpret_cast<const int32_t*>(ids);
    }
    shard->offsets =
        reinterpret_cast<const uint64_t*>(ids + (shard->counts.tokens * header.id_bytes + 7) / 8 * 8);
    shard->text_bytes = shard->offsets + shard->counts.documents + 1;
    set.append(std::move(shard));
  }
  return set;
}

TokenSet TokenSet::from_memory(const std::vector<std::vector<int32_t>>& documents,
                               std::vector<int64_t> text_bytes) {
  CHECK(documents.size() == text_bytes.size());
  auto shard = std::make_shared<Shard>();
  shard->owned_offsets.push_back(0);
  for (const auto& ids : documents) {
    shard->owned_ids.insert(shard->owned_ids.end(), ids.begin(), ids.end());
    shard->owned_offsets.push_back(shard->owned_ids.size());
  }
  shard->owned_bytes.assign(text_bytes.begin(), text_bytes.end());
  shard->counts = {documents.size(), shard->owned_ids.size(), 0};
  for (const int64_t bytes : text_bytes) shard->counts.text_bytes += static_cast<uint64_t>(bytes);
  shard->wide = shard->owned_ids.data();
  shard->offsets = shard->owned_offsets.data();
  shard->text_bytes = shard->owned_bytes.data();
  TokenSet set;
  set.append(std::move(shard));
  return set;
}

void TokenSet::append(std::shared_ptr<const Shard> shard) {
  starts_.push_back(documents() + static_cast<int64_t>(shard->counts.documents));
  tokens_ += static_cast<int64_t>(shard->counts.tokens);
  text_bytes_ += static_cast<int64_t>(shard->counts.text_bytes);
  shards_.push_back(std::move(shard));
}

std::pair<const TokenSet::Shard*, int64_t> TokenSet::locate(int64_t document) const {
  CHECK(document >= 0 && document < documents());
  const auto i = std::upper_bound(starts_.begin(), starts_.end(), document) - starts_.begin();
  return {shards_[static_cast<size_t>(i)].get(),
          document - (i == 0 ? 0 : starts_[static_cast<size_t>(i) - 1])};
}

int64_t TokenSet::document_tokens(int64_t document) const {
  const auto [shard, local] = locate(document);
  return static_cast<int64_t>(shard->offsets[local + 1] - shard->offsets[local]);
}

int64_t TokenSet::document_bytes(int64_t document) const {
  const auto [shard, local] = locate(document);
  return static_cast<int64_t>(shard->text_bytes[local]);
}

void TokenSet::copy(int64_t document, int64_t begin, int64_t count, int32_t* out) const {
  const auto [shard, local] = locate(document);
  const auto start = static_cast<int64_t>(shard->offsets[local]) + begin;
  CHECK(begin >= 0 && count >= 0 && start + count <= static_cast<int64_t>(shard->offsets[local + 1]));
  if (shard->narrow != nullptr) {
    std::copy_n(shard->narrow + start, count, out);
  } else {
    std::copy_n(shard->wide + start, count, out);
  }
}

}  // namespace frugal
