// One pass over the files of a corpus: parse, clean, split and tokenise documents in parallel, write them in
// order. Memory is constant but for the duplicate filters (see clean.h).
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "core/json.h"
#include "data/clean.h"
#include "data/prepare.h"

namespace frugal {

struct CorpusPlan {
  std::vector<std::vector<std::string>> train;  // files of each source
  std::vector<std::string> valid;
  DataOptions options;
  int64_t file_bytes = 0;  // of all files
};

// Which documents of the training files are held out.
struct HoldOut {
  double fraction = 0;          // those whose hash is in the lowest such part of all hashes
  std::optional<Hash128> only;  // or exactly those of this hash
};

struct BuiltCorpus {
  std::vector<std::vector<std::string>> train_shards;
  std::vector<std::string> valid_shards;
  PrepareReport report;
  int64_t candidates = 0;  // documents of the training files that were kept, held out or not
  Hash128 lowest;          // of their hashes
};

class CorpusBuilder {
 public:
  CorpusBuilder(const CorpusPlan& plan, const Tokenization& tokenization, ThreadPool& pool,
                const PrepareProgress& progress);
  BuiltCorpus build(const std::filesystem::path& folder, const HoldOut& hold_out, int64_t section_bytes);

 private:
  struct Item;
  enum class Place { dropped, train, valid };
  void read(const std::vector<std::string>& files, bool validation, TokenWriter* train, TokenWriter* valid);
  void process(std::vector<Record>& records, bool validation, TokenWriter* train, TokenWriter* valid);
  void parse(std::vector<Record>& records, std::vector<Item>& items);
  Place place(const Item& item, bool validation);
  bool held_out(const Hash128& hash) const;
  void encode(Item& item) const;

  const CorpusPlan& plan_;
  const Tokenization& tokenization_;
  ThreadPool& pool_;
  const PrepareProgress& progress_;
  ReadOptions read_options_;
  HoldOut hold_out_;
  BuiltCorpus result_;
  HashSet seen_, validation_hashes_;
  std::optional<NearDuplicates> near_;
  int64_t bytes_before_ = 0;  // of files already done
};

}  // namespace frugal
