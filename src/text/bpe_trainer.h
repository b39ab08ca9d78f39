// Learns a byte-level BPE tokenizer from documents (Sennrich et al. 2016, with incremental pair counts). The
// result does not depend on the number of threads, and equals HF tokenizers' BpeTrainer id for id: the most
// frequent pair first, ties to the lower ids, then special tokens, the 256 bytes and the merges in that order
// of ids.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/thread_pool.h"
#include "text/tokenizer.h"

namespace frugal {

struct BpeOptions {
  int64_t vocab_size = 4096;  // with the special tokens and the 256 bytes
  int64_t min_frequency = 2;  // a pair seen less often is not merged
  // Unique words kept while counting. When there are more, the rarest are forgotten, so that memory stays
  // constant.
  int64_t max_words = 8'000'000;
};

class BpeTrainer {
 public:
  // UsageError when the vocabulary cannot hold the bytes and special tokens.
  BpeTrainer(const BpeOptions& options, ThreadPool& pool);
  ~BpeTrainer();

  // Documents may hold any bytes. The view is not kept.
  void add(std::string_view document);
  // Error when the documents are empty or too small for the vocabulary. Call once, last.
  Tokenizer train();

  int64_t documents() const;
  int64_t bytes() const;

 private:
  class Counter;
  BpeOptions options_;
  std::unique_ptr<Counter> counter_;
};

}  // namespace frugal
