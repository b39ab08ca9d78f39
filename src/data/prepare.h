// From files to tokens on disk, once: read, clean, split off validation, tokenise, write shards, map them.
//
// The cache folder holds a folder per key. The key is a hash of everything the tokens depend on (the files'
// contents, the cleaning options, the tokenizer, the format's version), so a change of any of them makes a
// new folder and a stale one is never read. A folder is built under another name and renamed when it is
// complete: one that has its name is whole. A lock file makes a second process wait and then use what the
// first built; a killed builder's leftovers are removed by the next. Results do not depend on the number of
// threads.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "core/fields.h"
#include "core/thread_pool.h"
#include "data/source.h"
#include "data/stream.h"
#include "data/tokens.h"

namespace frugal {

// The table [data] of a recipe.
struct DataOptions {
  std::vector<std::string> train, valid;
  std::vector<double> weights;
  bool deduplicate = true;
  bool near_duplicates = false;
  double near_duplicate_threshold = 0.8;
  std::string invalid_utf8 = "error";
  double valid_fraction = 0.01;
  int64_t section_bytes = 64 << 10;
  bool document_mask = false;

  void visit(FieldVisitor& v) {
    v.field("train", train, "files, folders or globs of .txt and .jsonl (also .gz, .zst)");
    v.field("valid", valid, "the same for validation; none: a part of train is held out");
    v.field("weights", weights, "a share for each entry of train; none: every token equally often");
    v.field("deduplicate", deduplicate, "drop documents equal to an earlier one");
    v.field("near_duplicates", near_duplicates, "drop documents that nearly equal an earlier one");
    v.field("near_duplicate_threshold", near_duplicate_threshold,
            "share of common 5-word runs that counts as near");
    v.field("invalid_utf8", invalid_utf8, "\"error\" or \"replace\" (by U+FFFD)");
    v.field("valid_fraction", valid_fraction, "share of documents held out when there is no valid");
    v.field("section_bytes", section_bytes,
            "longer .txt files are cut to documents of at most so many bytes");
    v.field("document_mask", document_mask, "no attention across documents of a row");
  }
};

// What is needed of a tokenizer. Both functions append ids and are called from several threads at a time;
// they add no BOS or EOS of their own, except that encode_chat may: one at the start and one at the end are
// dropped again, since packing adds them.
using EncodeFunction = std::function<void(std::string_view, std::vector<int32_t>&)>;
using EncodeChatFunction = std::function<void(const std::vector<ChatMessage>&, std::vector<int32_t>&)>;
struct Tokenization {
  EncodeFunction encode;
  EncodeChatFunction encode_chat;  // empty: documents with "messages" are an Error
  Framing framing;
  int64_t vocab_size = 0;
  std::string hash;  // of everything that decides the ids
};

struct PrepareReport {
  int64_t files = 0, file_bytes = 0, documents_read = 0;
  int64_t blank = 0, exact_duplicates = 0, near_duplicates = 0, in_validation = 0, repaired = 0;
  int64_t train_documents = 0, train_tokens = 0, train_bytes = 0;
  int64_t valid_documents = 0, valid_tokens = 0, valid_bytes = 0;
  bool from_cache = false;

  void visit(FieldVisitor& v) {
    v.field("files", files, "files read");
    v.field("file_bytes", file_bytes, "their size, compressed where they are");
    v.field("documents_read", documents_read, "documents found");
    v.field("blank", blank, "dropped: white space only");
    v.field("exact_duplicates", exact_duplicates, "dropped: equal to an earlier one");
    v.field("near_duplicates", near_duplicates, "dropped: nearly equal to an earlier one");
    v.field("in_validation", in_validation, "dropped from training: equal to a document of data.valid");
    v.field("repaired", repaired, "documents with invalid UTF-8 replaced");
    v.field("train_documents", train_documents, "");
    v.field("train_tokens", train_tokens, "without BOS and EOS");
    v.field("train_bytes", train_bytes, "UTF-8 bytes of the documents kept");
    v.field("valid_documents", valid_documents, "");
    v.field("valid_tokens", valid_tokens, "without BOS and EOS");
    v.field("valid_bytes", valid_bytes, "UTF-8 bytes of the validation documents");
    v.field("from_cache", from_cache, "the tokens were there already");
  }
};

struct PreparedData {
  std::vector<StreamSource> train;  // one, or one per entry of data.train when weights are given
  TokenSet valid;                   // empty only when valid_fraction is 0 and no file is given
  std::string key;
  PrepareReport report;
};

// Bytes of files done and in all. It may throw to stop the preparation.
using PrepareProgress = std::function<void(int64_t done, int64_t total)>;

// Error or UsageError for anything wrong with options, files, text or cache; nothing half-made is left under
// its name.
PreparedData prepare_data(const DataOptions& options, const Tokenization& tokenization,
                          const std::filesystem::path& cache, ThreadPool& pool,
                          const PrepareProgress& progress = {});

// The documents of some files as one set (for perplexity of a file): nothing dropped but blank documents,
// same cache.
TokenSet prepare_files(const std::vector<std::string>& patterns, const Tokenization& tokenization,
                       const std::filesystem::path& cache, ThreadPool& pool);

}  // namespace frugal
