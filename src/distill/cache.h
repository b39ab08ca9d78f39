// A teacher's distributions on disk, made once and used by any number of students.
//
//   DIR/cache.json                      what it was made of and from (CacheIdentity), and what it cost
//   DIR/rows-000000000000-000000000511.zst   rows [0, 512) of the data stream, one zstd frame each
//
// Rows are numbered as the data stream gives them; a shard appears whole or not at all, so a killed teacher
// goes on behind its last shard. Every row keeps a hash of its tokens: a student that reads other rows is
// told so.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/fields.h"
#include "core/json.h"
#include "data/batch.h"
#include "distill/distribution.h"

namespace frugal {

// Everything that decides what the rows are and what is said of them.
struct CacheIdentity {
  std::string data;       // hash of documents, cleaning, tokenizer, order and packing
  std::string tokenizer;  // hash of what decides the ids
  std::string teacher;    // hash of its weights and config
  std::string kind = "sampled";
  int64_t vocab_size = 0, context = 0, draws = 0, top_k = 0, seed = 0;

  void visit(FieldVisitor& v);
  CacheKind parsed_kind() const { return parse_cache_kind(kind); }
  int64_t scale() const { return parsed_kind() == CacheKind::sampled ? draws : top_k; }
};

// Distributions of consecutive tokens; token i has [offsets[i], offsets[i + 1]). Tokens without a target have
// none.
struct TeacherRows {
  std::vector<int64_t> offsets = {0};
  std::vector<int32_t> ids;
  std::vector<float> weights;
  std::vector<float> tails;  // (tokens), top_k only

  void append(const std::optional<SparseDistribution>& distribution, CacheKind kind);
};

// Hash of a row's tokens and targets.
uint64_t row_hash(const TrainBatch& batch, int64_t row);

class CacheWriter {
 public:
  // Makes the folder, or opens one made from the same identity to go on behind its last shard. Error when the
  // folder holds a cache of another identity (says which part differs) or anything else.
  CacheWriter(const std::filesystem::path& folder, const CacheIdentity& identity,
              int64_t rows_per_shard = 512);
  int64_t rows() const { return rows_; }  // complete ones
  // The next row, in order: a distribution for every token of `length`, null where there is no target.
  void add(uint64_t hash, const std::vector<std::optional<SparseDistribution>>& tokens);
  // Tells this cache from all others, wherever it lies.
  const std::string& id() const { return id_; }
  const std::string& facts() const { return facts_; }  // JSON: what an earlier process noted
  // Writes the manifest with `facts` (teacher, cost: for people and the ledger).
  void note(const Json& facts);
  // The same, and what is left as a shard.
  void finish(const Json& facts);

 private:
  void write_shard();
  void write_manifest() const;
  std::filesystem::path folder_;
  CacheIdentity identity_;
  int64_t rows_per_shard_, rows_ = 0, pending_ = 0;
  std::string hashes_, id_, facts_ = "{}";
  DistributionWriter writer_;
};

class CacheReader {
 public:
  // Error when there is no cache, it is damaged, or holds no rows.
  explicit CacheReader(const std::filesystem::path& folder);
  const CacheIdentity& identity() const { return identity_; }
  const std::string& id() const { return id_; }        // CacheWriter::id()
  const std::string& facts() const { return facts_; }  // JSON: what note() or finish() was given
  int64_t rows() const { return rows_; }
  int64_t bytes() const { return bytes_; }  // of all shards
  // Error naming the first part in which the cache was made from something else than `data` (and so on) says.
  void require(const CacheIdentity& wanted) const;
  // Distributions of all tokens of rows [first, first + batch.rows). Error when a row is not the one that the
  // teacher read, or a shard is damaged.
  TeacherRows read(int64_t first, const TrainBatch& batch);

 private:
  struct Shard {
    int64_t begin, end;
    std::filesystem::path path;
  };
  struct Decoded {
    std::vector<uint64_t> hashes;  // (rows)
    TeacherRows tokens;            // of all rows
  };
  const Decoded& decoded(const Shard& shard);

  std::filesystem::path folder_;
  CacheIdentity identity_;
  std::string id_, facts_;
  int64_t rows_ = 0, bytes_ = 0;
  std::vector<Shard> shards_;
  std::map<int64_t, Decoded> loaded_;  // by first row; the two latest
};

}  // namespace frugal
