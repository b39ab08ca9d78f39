#include "tune/replies.h"

#include <algorithm>
#include <optional>

#include "core/error.h"

namespace frugal {
namespace {

// A reply under way in a slot.
struct Writing {
  size_t index;
  int slot;
  Sampler sampler;
  std::vector<int32_t> tokens;  // prompt and reply
  bool done = false;
};

size_t first_of(const std::string& text, const std::vector<std::string>& stops) {
  size_t first = std::string::npos;
  for (const std::string& stop : stops) first = std::min(first, text.find(stop));
  return first;
}

class Writer {
 public:
  Writer(const Tokenizer& tokenizer, const ReplyOptions& options)
      : tokenizer_(tokenizer), options_(options) {}

  // Chooses the next token; the reply may end with it.
  void choose(Writing& writing, std::span<float> logits, OwnReply& reply) const {
    const int32_t id = writing.sampler.sample(logits, writing.tokens, writing.tokens.size());
    writing.tokens.push_back(id);
    reply.ids.push_back(id);
    if (std::ranges::find(options_.stop_ids, id) != options_.stop_ids.end()) {
      reply.ended = true;
      reply.text = text_of(std::span(reply.ids).first(reply.ids.size() - 1));
    } else if (!options_.stop_texts.empty() || full(writing, reply)) {
      reply.text = text_of(reply.ids);
      const size_t end = first_of(reply.text, options_.stop_texts);
      reply.ended = end != std::string::npos;
      if (reply.ended) reply.text.resize(end);
    }
    writing.done = reply.ended || full(writing, reply);
  }

 private:
  // Models may have more ids than their tokenizer: those have no text.
  std::string text_of(std::span<const int32_t> ids) const {
    std::vector<int32_t> known;
    for (const int32_t id : ids) {
      if (id < tokenizer_.vocab_size()) known.push_back(id);
    }
    return tokenizer_.decode(known);
  }
  bool full(const Writing& writing, const OwnReply& reply) const {
    return std::ssize(reply.ids) >= options_.max_tokens ||
           (options_.context > 0 && std::ssize(writing.tokens) >= options_.context);
  }
  const Tokenizer& tokenizer_;
  const ReplyOptions& options_;
};

}  // namespace

std::vector<OwnReply> own_replies(Engine& engine, ThreadPool& pool, const Tokenizer& tokenizer,
                                  std::span<const std::vector<int32_t>> prompts,
                                  std::span<const uint64_t> seeds, const ReplyOptions& options) {
  CHECK(prompts.size() == seeds.size() && options.max_tokens > 0);
  std::vector<OwnReply> replies(prompts.size());
  const Writer writer(tokenizer, options);
  std::vector<int> free;
  // What slots hold was computed with the weights of an earlier step.
  for (int slot = engine.cache().slots(); slot-- > 0;) {
    engine.clear(slot);
    free.push_back(slot);
  }
  std::vector<Writing> writing;
  size_t next = 0;
  while (next < prompts.size() || !writing.empty()) {
    while (next < prompts.size() && !free.empty()) {
      const auto seed = static_cast<int64_t>(seeds[next] >> 1);
      Writing begun{next, free.back(), Sampler({.temperature = options.temperature, .seed = seed}),
                    prompts[next]};
      Tensor scores = engine.prefill(begun.slot, prompts[next]);
      writer.choose(begun, scores.values(), replies[next]);
      ++next;
      if (begun.done) continue;
      free.pop_back();
      writing.push_back(std::move(begun));
    }
    if (writing.empty()) continue;
    std::vector<Engine::Rows> rows;
    for (const Writing& w : writing) rows.push_back({w.slot, {&w.tokens.back(), 1}, RowRole::generated});
    Tensor scores = engine.forward(rows);
    const auto vocab = static_cast<size_t>(scores.cols());
    pool.parallel_for(std::ssize(writing), 1, [&](int64_t begin, int64_t end, int) {
      for (auto i = static_cast<size_t>(begin); i < static_cast<size_t>(end); ++i) {
        writer.choose(writing[i], scores.values().subspan(i * vocab, vocab), replies[writing[i].index]);
      }
    });
    for (const Writing& w : writing) {
      if (w.done) free.push_back(w.slot);
    }
    std::erase_if(writing, [](const Writing& w) { return w.done; });
  }
  return replies;
}

}  // namespace frugal
