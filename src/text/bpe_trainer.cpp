#include "text/bpe_trainer.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "text/bpe_merges.h"
#include "text/pretokenizer.h"
#include "text/special_tokens.h"
#include "text/trained_files.h"
#include "text/unicode.h"
#include "text/word_counts.h"

namespace frugal {
namespace {

constexpr size_t kBatchBytes = 8 << 20;
constexpr size_t kShards = 64;
// Merging walks through a word once per merge in it, so a longer one (a file without spaces) is counted in
// parts.
constexpr size_t kMaxWord = 4096;
constexpr int64_t kMaxVocab = 1 << 22;

}  // namespace

// Counts words in batches. Every worker counts into tables of its own, split by hash; then the shards are
// added up in parallel. Sums do not depend on who counted what, and rare words are dropped at batch ends
// only, which depend on the documents alone.
class BpeTrainer::Counter {
 public:
  Counter(ThreadPool& pool, int64_t max_words)
      : pool_(pool),
        max_words_(static_cast<size_t>(max_words)),
        pre_(parse_json(trained_pre_tokenizer(), "pre_tokenizer"), "pre_tokenizer"),
        local_(static_cast<size_t>(pool.size()), std::vector<WordCounts>(kShards)),
        total_(kShards) {}

  void add(std::string_view document) {
    ++documents_;
    bytes_ += static_cast<int64_t>(document.size());
    text_ += document;
    ends_.push_back(text_.size());
    if (text_.size() >= kBatchBytes) count_batch();
  }

  std::vector<CountedWord> finish() {
    count_batch();
    std::vector<CountedWord> words;
    for (const WordCounts& shard : total_) {
      shard.for_each([&](std::string_view word, const WordCounts::Word& w) {
        words.push_back({word, w.count});
      });
    }
    std::sort(words.begin(), words.end(), [](const auto& a, const auto& b) { return a.bytes < b.bytes; });
    return words;
  }

  int64_t documents_ = 0, bytes_ = 0;

 private:
  void count_document(std::string_view text, std::vector<WordCounts>& tables) const {
    PreTokenizer::Scratch scratch;
    const auto count = [&](std::string_view word) {
      for (; !word.empty(); word.remove_prefix(std::min(word.size(), kMaxWord))) {
        const std::string_view part = word.substr(0, kMaxWord);
        const uint64_t hash = WordCounts::hash(part);
        tables[hash >> 58].add(part, hash, 1);
      }
    };
    static_assert(kShards == 64);
    while (!text.empty()) {
      const size_t valid = valid_utf8_prefix(text);
      pre_.split(text.substr(0, valid), scratch, count);
      text.remove_prefix(valid);
      const size_t invalid = invalid_utf8_prefix(text);
      count(text.substr(0, invalid));
      text.remove_prefix(invalid);
    }
  }

  void count_batch() {
    const auto documents = static_cast<int64_t>(ends_.size());
    pool_.parallel_for(documents, 1, [&](int64_t begin, int64_t end, int worker) {
      for (auto i = static_cast<size_t>(begin); i < static_cast<size_t>(end); ++i) {
        const size_t from = i ? ends_[i - 1] : 0;
        count_document(std::string_view(text_).substr(from, ends_[i] - from),
                       local_[static_cast<size_t>(worker)]);
      }
    });
    pool_.parallel_for(kShards, 1, [&](int64_t begin, int64_t end, int) {
      for (auto shard = static_cast<size_t>(begin); shard < static_cast<size_t>(end); ++shard) {
        for (auto& tables : local_) {
          tables[shard].for_each([&](std::string_view word, const WordCounts::Word& w) {
            total_[shard].add(word, w.hash, w.count);
          });
          tables[shard].clear();
        }
      }
    });
    text_.clear();
    ends_.clear();
    size_t words = 0;
    for (const WordCounts& shard : total_) words += shard.size();
    for (int64_t rare = 1; words > max_words_; rare *= 2) {
      words = 0;
      for (WordCounts& shard : total_) {
        shard.drop_rare(rare);
        words += shard.size();
      }
    }
  }

  ThreadPool& pool_;
  size_t max_words_;
  PreTokenizer pre_;
  std::string text_;
  std::vector<size_t> ends_;
  std::vector<std::vector<WordCounts>> local_;  // [worker][shard]
  std::vector<WordCounts> total_;
};

BpeTrainer::BpeTrainer(const BpeOptions& options, ThreadPool& pool) : options_(options) {
  const auto fixed = static_cast<int64_t>(kReservedTokens.size()) + 256;
  if (options.vocab_size < fixed || options.vocab_size > kMaxVocab) {
    fail_usage("a vocabulary of {} is impossible: it must hold 256 bytes and {} special tokens, so {} to {}",
               options.vocab_size, kReservedTokens.size(), fixed, kMaxVocab);
  }
  if (options.max_words < 1) fail_usage("max_words is {}; it must be positive", options.max_words);
  counter_ = std::make_unique<Counter>(pool, options.max_words);
}

BpeTrainer::~BpeTrainer() = default;

void BpeTrainer::add(std::string_view document) {
  counter_->add(document);
}
int64_t BpeTrainer::documents() const {
  return counter_->documents_;
}
int64_t BpeTrainer::bytes() const {
  return counter_->bytes_;
}

Tokenizer BpeTrainer::train() {
  const std::vector<CountedWord> words = counter_->finish();
  if (words.empty()) fail("the text to train a tokenizer on is empty ({} documents)", documents());
  const std::vector<int32_t> byte_ids = trained_byte_ids();
  const auto fixed = static_cast<int32_t>(kReservedTokens.size() + 256);
  const int64_t wanted = options_.vocab_size - fixed;
  const LearnedMerges learned = learn_merges(words, byte_ids, fixed, wanted, options_.min_frequency);
  if (static_cast<int64_t>(learned.tokens.size()) < wanted) {
    fail(
        "{} bytes of text in {} documents are enough for a vocabulary of {}, not {}: add text or set the "
        "size to {}",
        bytes(), documents(), fixed + learned.tokens.size(), options_.vocab_size,
        fixed + learned.tokens.size());
  }
  return Tokenizer::from_json(trained_tokenizer_json(learned), trained_tokenizer_config(),
                              "trained tokenizer");
}

}  // namespace frugal
