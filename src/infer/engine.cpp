#include "infer/engine.h"

#include <algorithm>
#include <chrono>

#include "core/error.h"
#include "core/profile.h"

namespace frugal {
namespace {

constexpr int64_t kLongestDraft = 64;

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
      vocab_(model.shape().vocab_size) {
  if (options.draft.kind != DraftKind::off &&
      (options.draft.longest < 1 || options.draft.longest > kLongestDraft)) {
    fail_usage("drafts of {} tokens: expected 1 to {}", options.draft.longest, kLongestDraft);
  }
  if (options.draft.kind != DraftKind::mtp) return;
  for (Slot& slot : slots_) {
    slot.mtp = std::make_unique<MtpDrafter>(ctx, model, cache_.capacity(), *options.kv_format);
  }
}

void Engine::check_prompt(std::span<const int32_t> tokens) const {
  if (tokens.empty()) fail("the prompt has no tokens");
  for (const int32_t id : tokens) {
    if (id < 0 || id >= vocab_) fail("token id {} is outside the model's vocabulary of {}", id, vocab_);
  }
}

void Engine::clear(int slot) {
  cache_.truncate(slot, 0);
  Slot& held = slots_.at(static_cast<size_t>(slot));
  held.tokens.clear();
  held.prompt_rows = 0;
  if (held.mtp) held.mtp->keep(0);
}

// One pass over new rows; `last` gets the row of each slot's last token.
Hidden Engine::run(std::span<const Rows> rows, std::vector<int64_t>& last) {
  Batch batch;
  batch.offsets = {0};
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
  Hidden hidden = model_.forward(ctx_, batch, &cache_);
  for (const Rows& r : rows) {
    Slot& slot = slots_.at(static_cast<size_t>(r.slot));
    slot.tokens.insert(slot.tokens.end(), r.tokens.begin(), r.tokens.end());
    if (r.role == RowRole::prompt) slot.prompt_rows = cache_.length(r.slot);
  }
  return hidden;
}

Tensor Engine::forward(std::span<const Rows> rows) {
  std::vector<int64_t> last;
  const Hidden hidden = run(rows, last);
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
  if (held.mtp) shared = held.mtp->keep(shared);
  cache_.truncate(slot, shared);
  held.tokens.resize(static_cast<size_t>(shared));
  held.prompt_rows = shared;
  return shared;
}

// The rows of `tokens` from `begin` on, in chunks.
Tensor Engine::fill(int slot, std::span<const int32_t> tokens, int64_t begin) {
  MtpDrafter* mtp = slots_.at(static_cast<size_t>(slot)).mtp.get();
  while (true) {
    const int64_t n = std::min(options_.chunk, std::ssize(tokens) - begin);
    const Rows rows{slot, tokens.subspan(static_cast<size_t>(begin), static_cast<size_t>(n)),
                    RowRole::prompt};
    std::vector<int64_t> last;
    const Hidden hidden = run({&rows, 1}, last);
    if (mtp != nullptr) mtp->observe(hidden, tokens);
    begin += n;
    if (begin == std::ssize(tokens)) return logits(ctx_, model_, hidden.normed, last);
  }
}

Tensor Engine::prefill(int slot, std::span<const int32_t> tokens) {
  check_prompt(tokens);
  return fill(slot, tokens, keep_shared_prefix(slot, tokens));
}

// A reply under way. The text is the prompt and the reply so far; its last token is not in the cache yet.
struct Engine::Writing {
  const GenerationRequest& request;
  const OnToken& on_token;
  int slot;
  int64_t most;
  Sampler sampler;
  std::vector<int32_t> text;
  Generation out = {};
  bool ended = false;
};

// Takes tokens from the rows of `scores` for as long as the draft foresaw them, and the one after; returns
// how many it foresaw.
int64_t Engine::take_tokens(Writing& w, Tensor& scores, std::span<const int32_t> draft) {
  const auto vocab = static_cast<size_t>(vocab_);
  size_t row = 0;
  while (true) {
    const int32_t id = w.sampler.sample(scores.values().subspan(row * vocab, vocab), w.text, w.text.size());
    if (std::ranges::find(w.request.stop_ids, id) != w.request.stop_ids.end()) {
      w.out.reason = FinishReason::stop;
      w.ended = true;
      break;
    }
    w.out.ids.push_back(id);
    w.text.push_back(id);
    if (w.on_token && !w.on_token(id)) {
      w.out.reason = FinishReason::cancelled;
      w.ended = true;
    }
    w.ended = w.ended || std::ssize(w.out.ids) >= w.most;
    if (row == draft.size() || draft[row] != id) break;
    ++row;
    if (w.ended) break;
  }
  return static_cast<int64_t>(row);
}

// One pass over the text's last token and a draft of what follows it, and the tokens that come of it.
void Engine::write_on(Writing& w, Speculation* speculation) {
  Slot& slot = slots_.at(static_cast<size_t>(w.slot));
  std::vector<int32_t> draft;
  if (speculation != nullptr) {
    const int64_t room = std::min(w.most - std::ssize(w.out.ids) - 1, context() - std::ssize(w.text));
    draft = speculation->next(w.text, room);
    speculation->pass_begins();
  }
  std::vector<int32_t> tokens{w.text.back()};
  tokens.insert(tokens.end(), draft.begin(), draft.end());
  const Rows rows{w.slot, tokens, RowRole::generated};
  std::vector<int64_t> last;
  const Hidden hidden = run({&rows, 1}, last);
  Tensor scores = logits(ctx_, model_, hidden.normed);
  const int64_t before = std::ssize(w.out.ids);
  const int64_t right = take_tokens(w, scores, draft);
  const bool stopped = w.ended && w.out.reason == FinishReason::stop;  // by a token that the reply leaves out
  if (speculation != nullptr)
    speculation->pass_ended(right, std::ssize(w.out.ids) - before + (stopped ? 1 : 0));
  if (right < std::ssize(draft)) {  // what was guessed wrong leaves the cache
    const int64_t kept = cache_.length(w.slot) - std::ssize(draft) + right;
    cache_.truncate(w.slot, kept);
    slot.tokens.resize(static_cast<size_t>(kept));
  }
  if (slot.mtp && !w.ended) slot.mtp->observe(first_rows(hidden, right + 1), w.text);
}

Hidden Engine::first_rows(const Hidden& hidden, int64_t count) {
  if (count == hidden.normed.rows()) return hidden;
  std::vector<int64_t> rows;
  for (int64_t r = 0; r < count; ++r) rows.push_back(r);
  return {ops::gather_rows(ctx_, hidden.before_norm, rows), ops::gather_rows(ctx_, hidden.normed, rows)};
}

Generation Engine::generate(const GenerationRequest& request, const OnToken& on_token, int slot) {
  check_prompt(request.prompt);
  const auto prompt = static_cast<int64_t>(request.prompt.size());
  if (prompt >= context()) {
    fail("the prompt has {} tokens and the context {}: shorten the prompt or enlarge the context", prompt,
         context());
  }
  if (request.max_tokens < 0) fail_usage("{} tokens to generate: expected 0 or more", request.max_tokens);
  const int64_t room = context() - prompt;
  Writing w{.request = request,
            .on_token = on_token,
            .slot = slot,
            .most = request.max_tokens == 0 ? room : std::min(request.max_tokens, room),
            .sampler = Sampler(request.sampling),
            .text = request.prompt};
  w.out.prompt_tokens = prompt;
  if (ctx_.profile != nullptr) ctx_.profile->phase("prompt");
  auto start = std::chrono::steady_clock::now();
  w.out.reused_tokens = keep_shared_prefix(slot, request.prompt);
  Tensor scores = fill(slot, request.prompt, w.out.reused_tokens);
  w.out.prefill_seconds = seconds_since(start);
  if (ctx_.profile != nullptr) ctx_.profile->phase("reply");
  start = std::chrono::steady_clock::now();
  LookupDrafter lookup;
  MtpDrafter* mtp = slots_.at(static_cast<size_t>(slot)).mtp.get();
  std::optional<Speculation> speculation;
  if (options_.draft.kind != DraftKind::off) {
    Drafter& drafter = mtp != nullptr ? static_cast<Drafter&>(*mtp) : lookup;
    if (!policy_) policy_.emplace(options_.draft.longest, drafter.priors());
    speculation.emplace(drafter, *policy_, options_.draft, [start] { return seconds_since(start); });
  }
  take_tokens(w, scores, {});
  while (!w.ended) write_on(w, speculation ? &*speculation : nullptr);
  w.out.decode_seconds = seconds_since(start);
  if (speculation) w.out.draft = speculation->stats();
  return w.out;
}

}  // namespace frugal
