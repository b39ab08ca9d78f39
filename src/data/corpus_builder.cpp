#include "data/corpus_builder.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "data/record_queue.h"

namespace frugal {

struct CorpusBuilder::Item {
  Document document;
  std::string file;
  int64_t line = 0;
  Hash128 hash;
  Signature signature;
  bool blank = false;
  Place place = Place::dropped;
  std::vector<int32_t> ids;
  std::string error;
};

static Hash128 identity(const Document& document) {
  Hasher128 hasher;
  hasher.update_framed(document.text);
  for (const auto& message : document.messages) {
    hasher.update_framed(message.role);
    hasher.update_framed(message.content);
  }
  return hasher.finish();
}

CorpusBuilder::CorpusBuilder(const CorpusPlan& plan, const Tokenization& tokenization, ThreadPool& pool,
                             const PrepareProgress& progress)
    : plan_(plan), tokenization_(tokenization), pool_(pool), progress_(progress) {
  read_options_.invalid_utf8 = parse_invalid_utf8(plan.options.invalid_utf8, "data.invalid_utf8");
}

BuiltCorpus CorpusBuilder::build(const std::filesystem::path& folder, const HoldOut& hold_out,
                                 int64_t section_bytes) {
  const DataOptions& options = plan_.options;
  read_options_.section_bytes = section_bytes;
  hold_out_ = hold_out;
  result_ = {};
  result_.lowest = {~uint64_t{0}, ~uint64_t{0}};
  seen_ = validation_hashes_ = {};
  near_.reset();
  if (options.near_duplicates) near_.emplace(options.near_duplicate_threshold);
  bytes_before_ = 0;

  const bool wide = tokenization_.vocab_size > 65536;
  TokenWriter valid(folder, "valid", wide);
  read(plan_.valid, true, nullptr, &valid);  // first, so that its documents are known when training's come
  PrepareReport& report = result_.report;
  for (size_t i = 0; i < plan_.train.size(); ++i) {
    TokenWriter train(folder, fmt::format("train{}", i), wide);
    read(plan_.train[i], false, &train, &valid);
    result_.train_shards.push_back(train.finish());
    report.train_documents += train.documents();
    report.train_tokens += train.tokens();
    report.train_bytes += train.text_bytes();
  }
  result_.valid_shards = valid.finish();
  report.valid_documents = valid.documents();
  report.valid_tokens = valid.tokens();
  report.valid_bytes = valid.text_bytes();
  return std::move(result_);
}

void CorpusBuilder::read(const std::vector<std::string>& files, bool validation, TokenWriter* train,
                         TokenWriter* valid) {
  if (files.empty()) return;
  RecordQueue queue(files, read_options_);
  RecordQueue::Batch batch;
  int64_t consumed = 0;
  while (queue.next(batch)) {
    process(batch.records, validation, train, valid);
    consumed = batch.consumed;
    if (progress_) progress_(bytes_before_ + consumed, plan_.file_bytes);
  }
  bytes_before_ += consumed;
  result_.report.files += static_cast<int64_t>(files.size());
}

// The first failing document in reading order decides the error, whichever thread met it.
static void throw_first(const auto& items) {
  for (const auto& item : items) {
    if (!item.error.empty()) throw Error(item.error);
  }
}

void CorpusBuilder::parse(std::vector<Record>& records, std::vector<Item>& items) {
  pool_.parallel_for(static_cast<int64_t>(records.size()), 4, [&](int64_t begin, int64_t end, int) {
    for (auto i = static_cast<size_t>(begin); i < static_cast<size_t>(end); ++i) {
      Item& item = items[i];
      try {
        item.file = records[i].file;
        item.line = records[i].line;
        item.document = parse_record(std::move(records[i]), read_options_);
        item.blank = item.document.blank();
        item.hash = identity(item.document);
        if (!near_ || item.blank) continue;
        std::string text = item.document.text;
        for (const auto& message : item.document.messages) text += message.content + "\n";
        item.signature = minhash(text);
      } catch (const Error& error) {
        item.error = error.what();
      }
    }
  });
  throw_first(items);
}

bool CorpusBuilder::held_out(const Hash128& hash) const {
  if (hold_out_.only) return hash == *hold_out_.only;
  return static_cast<double>(hash.high >> 11) * 0x1.0p-53 < hold_out_.fraction;
}

CorpusBuilder::Place CorpusBuilder::place(const Item& item, bool validation) {
  PrepareReport& report = result_.report;
  ++report.documents_read;
  report.repaired += item.document.repaired;
  if (item.blank) {
    ++report.blank;
    return Place::dropped;
  }
  if (validation) {  // given by the user: all of it counts
    validation_hashes_.insert(item.hash);
    if (near_) near_->insert(item.signature);
    return Place::valid;
  }
  if (plan_.options.deduplicate) {
    if (validation_hashes_.contains(item.hash)) {
      ++report.in_validation;
      return Place::dropped;
    }
    if (!seen_.insert(item.hash)) {
      ++report.exact_duplicates;
      return Place::dropped;
    }
  }
  if (near_ && !near_->insert(item.signature)) {
    ++report.near_duplicates;
    return Place::dropped;
  }
  ++result_.candidates;
  result_.lowest = std::min(result_.lowest, item.hash);
  return held_out(item.hash) ? Place::valid : Place::train;
}

void CorpusBuilder::encode(Item& item) const {
  const Framing& framing = tokenization_.framing;
  if (item.document.messages.empty()) {
    tokenization_.encode(item.document.text, item.ids);
  } else {
    if (!tokenization_.encode_chat) {
      fail("{}:{}: a chat (\"messages\"), but the tokenizer has no chat template", item.file, item.line);
    }
    tokenization_.encode_chat(item.document.messages, item.ids);
    if (!item.ids.empty() && framing.eos_id >= 0 && item.ids.back() == framing.eos_id) item.ids.pop_back();
    if (!item.ids.empty() && framing.bos_id >= 0 && item.ids.front() == framing.bos_id)
      item.ids.erase(item.ids.begin());
  }
  for (const int32_t id : item.ids) {
    CHECK(id >= 0 && id < tokenization_.vocab_size, "the tokenizer gave id {}, its vocabulary has {}", id,
          tokenization_.vocab_size);
  }
}

void CorpusBuilder::process(std::vector<Record>& records, bool validation, TokenWriter* train,
                            TokenWriter* valid) {
  std::vector<Item> items(records.size());
  parse(records, items);
  for (Item& item : items) item.place = place(item, validation);
  pool_.parallel_for(static_cast<int64_t>(items.size()), 1, [&](int64_t begin, int64_t end, int) {
    for (auto i = static_cast<size_t>(begin); i < static_cast<size_t>(end); ++i) {
      if (items[i].place == Place::dropped) continue;
      try {
        encode(items[i]);
      } catch (const Error& error) {
        items[i].error = error.what();
      }
    }
  });
  throw_first(items);
  for (const Item& item : items) {
    if (item.place == Place::train) train->add(item.ids, item.document.bytes());
    if (item.place == Place::valid) valid->add(item.ids, item.document.bytes());
  }
}

}  // namespace frugal
