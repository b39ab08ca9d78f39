#include "cli/text_windows.h"

#include <algorithm>

#include "core/error.h"
#include "data/source.h"

namespace frugal::cli {
namespace {

TokenSet read_texts(const std::vector<std::string>& patterns, const Tokenizer& tokenizer, ThreadPool& pool) {
  std::vector<Document> documents;
  for_each_document(expand_patterns(patterns, "FILE"), {}, [&](const Document& document) {
    if (!document.messages.empty()) fail("{} holds conversations; it takes text", patterns.front());
    documents.push_back(document);
    return true;
  });
  std::vector<std::vector<int32_t>> ids(documents.size());
  pool.parallel_for(std::ssize(documents), 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) {
      ids[static_cast<size_t>(i)] = tokenizer.encode(documents[static_cast<size_t>(i)].text);
    }
  });
  std::vector<int64_t> bytes;
  for (const Document& document : documents) bytes.push_back(document.bytes());
  return TokenSet::from_memory(ids, std::move(bytes));
}

}  // namespace

int64_t window_length(const ModelShape& shape, const std::optional<int64_t>& wanted) {
  constexpr int64_t kUsual = 2048;
  const int64_t length = wanted.value_or(std::min(kUsual, shape.max_positions));
  if (length < 1 || length > shape.max_positions) {
    fail_usage("--context {}: this model was made for 1 to {}", length, shape.max_positions);
  }
  return length;
}

int64_t windows_at_once(int64_t length) {
  constexpr int64_t kRows = 1024;
  return std::max<int64_t>(1, kRows / length);
}

ValidationWindows text_windows(Runtime& runtime, const OpenModel& model,
                               const std::vector<std::string>& patterns, int64_t length, int64_t max_tokens) {
  const ModelShape shape = model.model->shape();
  if (model.tokenizer.vocab_size() > shape.vocab_size) {
    fail("{}: the tokenizer has {} ids and the model {}", model.directory.string(),
         model.tokenizer.vocab_size(), shape.vocab_size);
  }
  WindowOptions options;
  options.framing = {.bos_id = model.tokenizer.bos_id().value_or(-1),
                     .eos_id = model.tokenizer.eos_id().value_or(-1)};
  options.length = length;
  options.max_tokens = max_tokens;
  return {read_texts(patterns, model.tokenizer, runtime.ctx().pool), options};
}

}  // namespace frugal::cli
