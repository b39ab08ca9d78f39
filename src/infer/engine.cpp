#include "infer/engine.h"

#include <algorithm>
#include <chrono>

#include "core/error.h"

namespace frugal {
namespace {

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

Cache make_cache(const Context& ctx, const Model& model, const EngineOptions& options) {
  const int64_t most = model.shape().max_positions;
  const int64_t context = options.context == 0 ? most : options.context;
  if (context < 1 || context > most) {
    fail_usage("a context of {} tokens: this model was made for 1 to {}", context, most);
  }
  if (options.slots < 1) fail_usage("{} sequences at once: expected at least 1", options.slots);
  if (options.chunk < 1) fail_usage("chunks of {} prompt tokens: expected at least 1", options.chunk);
  return Cache(ctx, model.cache_layers(), options.slots, context, *options.kv_format);
}

}  // namespace

std::string_view to_string(FinishReason reason) {
  switch (reason) {
    case FinishReason::stop:
      return "stop";
    case FinishReason::length:
      return "length";
    case FinishReason::cancelled:
      return "cancelled";
  }
  return "";
}

Engine::Engine(Context& ctx, Model& model, const EngineOptions& options)
    : ctx_(ctx),
      model_(model),
      options_(options),
      cache_(make_cache(ctx, model, options)),
      slots_(static_cast<size_t>(options.slots)),
      vocab_(model.shape().vocab_size) {}

void Engine::check_prompt(std::span<const int32_t> tokens) const {
  if (tokens.empty()) fail("the prompt has no tokens");
  for (const int32_t id : tokens) {
    if (id < 0 || id >= vocab_) fail("token id {} is outside the model's vocabulary of {}", id, vocab_);
  }
}

void Engine::clear(int slot) {
  cache_.truncate(slot, 0);
  slots_.at(static_cast<size_t>(slot)) = {};
}

Tensor Engine::forward(std::span<const Rows> rows) {
  Batch batch;
  batch.offsets = {0};
  std::vector<int64_t> last;
  for (const Rows& r : rows) {
    CHECK(!r.tokens.empty());
    auto position = static_cast<int32_t>(cache_.length(r.slot));
    for (const int32_t id : r.tokens) {
      batch.tokens.push_back(id);
      batch.positions.push_back(position++);
    }
    batch.offsets.push_back(batch.rows());
    batch.slots.push_back(r.slot);
    batch.roles.push_back(r.role);
    last.push_back(batch.rows() - 1);
  }
  const Hidden hidden = model_.forward(ctx_, batch, &cache_);
  for (const Rows& r : rows) {
    Slot& slot = slots_.at(static_cast<size_t>(r.slot));
    slot.tokens.insert(slot.tokens.end(), r.tokens.begin(), r.tokens.end());
    if (r.role == RowRole::prompt) slot.prompt_rows = cache_.length(r.slot);
  }
  return logits(ctx_, model_, hidden.normed, last);
}

// Cuts the slot back to the prefix that it shares with `tokens`; returns its length. Rows that were generated
// are computed again as prompt rows: what a conversation says next must not depend on whether its past was
// read or written. The last token always is, for its logits.
int64_t Engine::keep_shared_prefix(int slot, std::span<const int32_t> tokens) {
  Slot& held = slots_.at(static_cast<size_t>(slot));
  const int64_t most = std::min<int64_t>(held.prompt_rows, static_cast<int64_t>(tokens.size()) - 1);
  int64_t shared = 0;
  while (shared < most && held.tokens[static_cast<size_t>(shared)] == tokens[static_cast<size_t>(shared)])
    ++shared;
  cache_.truncate(slot, shared);
  held.tokens.resize(static_cast<size_t>(shared));
  held.prompt_rows = shared;
  return shared;
}

Tensor Engine::prefill(int slot, std::span<const int32_t> tokens) {
  check_prompt(tokens);
  int64_t begin = keep_shared_prefix(slot, tokens);
  Tensor result;
  while (begin < static_cast<int64_t>(tokens.size())) {
    const int64_t n = std::min(options_.chunk, static_cast<int64_t>(tokens.size()) - begin);
    const Rows rows{slot, tokens.subspan(static_cast<size_t>(begin), static_cast<size_t>(n)),
                    RowRole::prompt};
    result = forward({&rows, 1});
    begin += n;
  }
  return result;
}

Generation Engine::generate(const GenerationRequest& request, const OnToken& on_token, int slot) {
  check_prompt(request.prompt);
  const auto prompt = static_cast<int64_t>(request.prompt.size());
  if (prompt >= context()) {
    fail("the prompt has {} tokens and the context {}: shorten the prompt or enlarge the context", prompt,
         context());
  }
  if (request.max_tokens < 0) fail_usage("{} tokens to generate: expected 0 or more", request.max_tokens);
  Sampler sampler(request.sampling);
  Generation out;
  out.prompt_tokens = prompt;
  out.reused_tokens = keep_shared_prefix(slot, request.prompt);
  auto start = std::chrono::steady_clock::now();
  Tensor scores = prefill(slot, request.prompt);
  out.prefill_seconds = seconds_since(start);
  start = std::chrono::steady_clock::now();
  const int64_t room = context() - prompt;
  const int64_t most = request.max_tokens == 0 ? room : std::min(request.max_tokens, room);
  std::vector<int32_t> text = request.prompt;
  while (true) {
    const int32_t id = sampler.sample(scores.values(), text, text.size());
    if (std::ranges::find(request.stop_ids, id) != request.stop_ids.end()) {
      out.reason = FinishReason::stop;
      break;
    }
    out.ids.push_back(id);
    text.push_back(id);
    if (on_token && !on_token(id)) {
      out.reason = FinishReason::cancelled;
      break;
    }
    if (static_cast<int64_t>(out.ids.size()) >= most) break;
    const Rows rows{slot, {&id, 1}, RowRole::generated};
    scores = forward({&rows, 1});
  }
  out.decode_seconds = seconds_since(start);
  return out;
}

}  // namespace frugal
