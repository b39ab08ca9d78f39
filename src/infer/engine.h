// Prefill and decode over one cache: token ids in, token ids out. A slot holds one sequence; forward() serves
// any number of slots in one pass, which is what a batcher builds on. Rows are prompt rows or generated rows
// by who produced their token, never by how they are batched, so a reply does not depend on chunks, batches,
// reused prefixes or threads.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "infer/draft_mtp.h"
#include "infer/sampler.h"
#include "infer/speculation.h"
#include "models/model.h"
#include "nn/cache.h"

namespace frugal {

struct EngineOptions {
  int64_t context = 0;  // tokens a sequence may have, prompt and reply; 0: as many as the model was made for
  int slots = 1;
  int64_t chunk = 512;  // prompt rows per forward pass: bounds the memory of activations
  const Format* kv_format = &formats::f32;
  DraftOptions draft;  // guesses that generate() checks; they change its speed, never its reply
};

struct GenerationRequest {
  std::vector<int32_t> prompt;
  int64_t max_tokens = 0;  // 0: until the context is full
  SamplingOptions sampling;
  std::vector<int32_t> stop_ids;  // any of these ends the reply and is not part of it
};

// stop: a stop id; length: max_tokens or the context; cancelled: the callback said so.
enum class FinishReason { stop, length, cancelled };
std::string_view to_string(FinishReason reason);

struct Generation {
  std::vector<int32_t> ids;  // the reply
  FinishReason reason = FinishReason::length;
  int64_t prompt_tokens = 0;
  int64_t reused_tokens = 0;  // prompt tokens that the slot held already
  double prefill_seconds = 0, decode_seconds = 0;
  DraftStats draft;
};

class Engine {
 public:
  // Sees every token of a reply as it is chosen; false ends the reply.
  using OnToken = std::function<bool(int32_t id)>;

  // UsageError when the options are impossible. The model must outlive the engine.
  Engine(Context& ctx, Model& model, const EngineOptions& options);

  // Error when the prompt is empty, has ids outside the vocabulary, or leaves no room for a reply.
  Generation generate(const GenerationRequest& request, const OnToken& on_token = {}, int slot = 0);

  // New tokens of one slot, behind those it holds.
  struct Rows {
    int slot;
    std::span<const int32_t> tokens;  // at least one
    RowRole role;
  };
  // One pass over the rows of several slots: (S, V) logits after each one's last token.
  Tensor forward(std::span<const Rows> rows);
  // Makes the slot hold exactly `tokens` as prompt rows, keeping the prefix it shares with them, in chunks:
  // (1, V) logits after the last token.
  Tensor prefill(int slot, std::span<const int32_t> tokens);

  int64_t context() const { return cache_.capacity(); }
  int64_t held(int slot) const { return cache_.length(slot); }
  void clear(int slot);
  const Cache& cache() const { return cache_; }

 private:
  struct Slot {
    std::vector<int32_t> tokens;  // what the cache holds
    int64_t prompt_rows = 0;      // how many of the first are prompt rows
    std::unique_ptr<MtpDrafter> mtp;
  };
  struct Writing;  // a reply under way
  void check_prompt(std::span<const int32_t> tokens) const;
  int64_t keep_shared_prefix(int slot, std::span<const int32_t> tokens);
  Tensor fill(int slot, std::span<const int32_t> tokens, int64_t begin);
  Hidden run(std::span<const Rows> rows, std::vector<int64_t>& last);
  int64_t take_tokens(Writing& writing, Tensor& scores, std::span<const int32_t> draft);
  void write_on(Writing& writing, Speculation* speculation);
  Hidden first_rows(const Hidden& hidden, int64_t count);
  Context& ctx_;
  Model& model_;
  EngineOptions options_;
  Cache cache_;
  std::vector<Slot> slots_;
  int64_t vocab_;
  std::optional<DraftPolicy> policy_;  // outlives replies: what passes cost is the machine's and the model's
};

}  // namespace frugal
