// Tokenised documents: written once to shard files, then read through memory maps.
//
// A shard file, little-endian: magic "FRGTOKEN", u32 version, u32 bytes per id (2 or 4); the ids; zeros up to
// a multiple of 8; u64 offsets[documents + 1] (in ids); u64 text_bytes[documents]; u64 documents, ids, text
// bytes; u64[2] hash128 of everything before it. Ids are the text's only: BOS and EOS are added when packing.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <vector>

namespace frugal {

constexpr uint32_t kShardVersion = 1;
// A shard is closed when it has this many ids or documents (a document is never cut), which bounds the
// writer's memory.
constexpr int64_t kShardTokens = int64_t{1} << 26, kShardDocuments = int64_t{1} << 20;

// Writes documents to directory/NAME-00000.tokens, -00001 and so on; call finish() at the end.
class TokenWriter {
 public:
  TokenWriter(std::filesystem::path directory, std::string name, bool wide_ids,
              int64_t shard_tokens = kShardTokens);
  ~TokenWriter();
  // text_bytes: the UTF-8 bytes that the ids stand for.
  void add(std::span<const int32_t> ids, int64_t text_bytes);
  std::vector<std::string> finish();  // names of the files written
  int64_t documents() const { return documents_; }
  int64_t tokens() const { return tokens_; }
  int64_t text_bytes() const { return text_bytes_; }

 private:
  struct Open;
  void close_shard();
  std::filesystem::path directory_;
  std::string name_;
  bool wide_;
  int64_t shard_tokens_, documents_ = 0, tokens_ = 0, text_bytes_ = 0;
  std::vector<std::string> files_;
  std::unique_ptr<Open> open_;
};

// Any number of documents, read-only; copies share the maps. Reading is thread-safe.
class TokenSet {
 public:
  TokenSet() = default;
  // Opens and verifies shard files: Error saying what is wrong with which file, and to delete `advice`.
  static TokenSet open(const std::filesystem::path& directory, const std::vector<std::string>& files,
                       const std::filesystem::path& advice);
  // For small sets that need no file; text_bytes has one entry per document.
  static TokenSet from_memory(const std::vector<std::vector<int32_t>>& documents,
                              std::vector<int64_t> text_bytes);

  int64_t documents() const { return starts_.empty() ? 0 : starts_.back(); }
  int64_t tokens() const { return tokens_; }
  int64_t text_bytes() const { return text_bytes_; }
  int64_t document_tokens(int64_t document) const;
  int64_t document_bytes(int64_t document) const;
  // out[0, count) = ids [begin, begin + count) of the document.
  void copy(int64_t document, int64_t begin, int64_t count, int32_t* out) const;

 private:
  struct Shard;
  void append(std::shared_ptr<const Shard> shard);
  std::pair<const Shard*, int64_t> locate(int64_t document) const;
  std::vector<std::shared_ptr<const Shard>> shards_;
  std::vector<int64_t> starts_;  // number of documents up to and including each shard
  int64_t tokens_ = 0, text_bytes_ = 0;
};

}  // namespace frugal
