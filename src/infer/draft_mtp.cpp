#include "infer/draft_mtp.h"

#include <algorithm>

#include "core/error.h"
#include "infer/sampler.h"

namespace frugal {
namespace {

constexpr int64_t kPromptRows = 16;          // MLA: from here on decompressed keys are the cheaper form
constexpr int64_t kTrial = 48, kFewest = 8;  // rows that decide the form

std::vector<float> values_of(const Tensor& rows) {
  return {rows.values().begin(), rows.values().end()};
}

}  // namespace

MtpDrafter::MtpDrafter(Context& ctx, Model& model, int64_t capacity, const Format& kv_format)
    : ctx_(ctx), model_(model), width_(model.shape().hidden_size) {
  const auto layers = model.mtp_cache_layers();
  if (layers.empty()) {
    fail_usage("--draft mtp: this model has no multi-token-prediction layer; --draft lookup works with any");
  }
  for (const CacheLayer& layer : layers) {
    // Rows of a draft lie behind the sequence's own for as long as it is made.
    modules_.push_back({Cache(ctx, {layer}, 1, capacity + 1, kv_format), {}});
  }
}

std::vector<float> MtpDrafter::handed_on(const Hidden& rows) const {
  return values_of(form_ == Form::normed ? rows.normed : rows.before_norm);
}

// Rows behind those that the module's cache holds; they stay in it until it is truncated.
MtpDrafter::Pass MtpDrafter::run(int depth, std::vector<float> previous, std::vector<int32_t> tokens) {
  Module& module = modules_[static_cast<size_t>(depth - 1)];
  const auto rows = std::ssize(tokens);
  const RowRole role = rows < kPromptRows ? RowRole::generated : RowRole::prompt;
  const Batch batch = Batch::single(std::move(tokens), static_cast<int32_t>(module.cache.length(0)), 0, role);
  const Hidden out =
      model_.mtp(ctx_, Tensor::from(ctx_, {rows, width_}, previous), batch, depth, &module.cache);
  return {handed_on(out), out.normed};
}

int32_t MtpDrafter::token_after(const Tensor& normed) {
  const std::vector<int64_t> last{normed.rows() - 1};
  return most_likely(logits(ctx_, model_, normed, last).values());
}

void MtpDrafter::observe(const Hidden& rows, std::span<const int32_t> text) {
  if (!decided_ && modules_[0].cache.length(0) == 0 && modules_[0].previous.empty()) {
    decided_ = decide_form(rows, text);
  }
  const auto more = handed_on(rows);
  auto& previous = modules_[0].previous;
  previous.insert(previous.end(), more.begin(), more.end());
  if (modules_[0].rows(width_) >= kPromptRows)
    extend(text);  // few rows wait for the next draft, if there is one
}

// Runs every module over the rows whose token is known.
void MtpDrafter::extend(std::span<const int32_t> text) {
  const int64_t size = std::ssize(text);
  for (int depth = 1; depth <= std::ssize(modules_); ++depth) {
    Module& module = modules_[static_cast<size_t>(depth - 1)];
    const int64_t begin = module.cache.length(0);
    const int64_t count = std::min(module.rows(width_), size - depth - begin);
    if (count <= 0) continue;
    const auto split = module.previous.begin() + count * width_;
    std::vector<float> previous(module.previous.begin(), split);
    module.previous.erase(module.previous.begin(), split);
    const auto tokens = text.subspan(static_cast<size_t>(begin + depth), static_cast<size_t>(count));
    const Pass pass = run(depth, std::move(previous), {tokens.begin(), tokens.end()});
    if (depth == 1) {
      last_normed_ = ops::gather_rows(ctx_, pass.normed, std::vector<int64_t>{count - 1});
      last_hidden_.assign(pass.hidden.end() - width_, pass.hidden.end());
    }
    if (depth < std::ssize(modules_)) {
      auto& next = modules_[static_cast<size_t>(depth)].previous;
      next.insert(next.end(), pass.hidden.begin(), pass.hidden.end());
    }
  }
}

Draft MtpDrafter::propose(std::span<const int32_t> text, int64_t most) {
  extend(text);
  const auto depth = std::ssize(modules_);
  if (most < 1 || modules_[0].cache.length(0) != std::ssize(text) - 1) return {};  // no row to start from
  Draft draft{{token_after(last_normed_)}, 0};
  std::vector<int64_t> certain;
  for (const Module& module : modules_) certain.push_back(module.cache.length(0));
  // Rows whose token is itself a draft: module d has d - 1 of them, the last certain row of the module before
  // and what that made of its own uncertain ones.
  Pass pass;
  for (int d = 2; d <= depth && std::ssize(draft.tokens) < most; ++d) {
    std::vector<float> previous = modules_[static_cast<size_t>(d - 1)].previous;
    previous.insert(previous.end(), pass.hidden.begin(), pass.hidden.end());
    if (std::ssize(previous) != (d - 1) * width_) return draft;
    pass = run(d, std::move(previous), draft.tokens);
    draft.tokens.push_back(token_after(pass.normed));
  }
  if (depth == 1 && std::ssize(draft.tokens) < most) pass.hidden = last_hidden_;
  while (std::ssize(draft.tokens) < most && !pass.hidden.empty()) {
    std::vector<float> last(pass.hidden.end() - width_, pass.hidden.end());
    const size_t token = draft.tokens.size() - 1;
    if (modules_.back().cache.length(0) == modules_.back().cache.capacity()) break;
    pass = run(static_cast<int>(depth), std::move(last), {draft.tokens[token]});
    draft.tokens.push_back(token_after(pass.normed));
  }
  for (size_t d = 0; d < modules_.size(); ++d) modules_[d].cache.truncate(0, certain[d]);
  return draft;
}

int64_t MtpDrafter::keep(int64_t tokens) {
  const auto depth = std::ssize(modules_);
  int64_t rows = std::max<int64_t>(0, tokens - depth);
  for (const Module& module : modules_) rows = std::min(rows, module.cache.length(0));
  for (Module& module : modules_) {
    module.cache.truncate(0, rows);
    module.previous.clear();
  }
  return rows;
}

// Tokens that the first module gets right from the first rows of a sequence.
int64_t MtpDrafter::right_tokens(const Tensor& previous, std::span<const int32_t> text) {
  const int64_t rows = previous.rows();
  const auto tokens = text.subspan(1, static_cast<size_t>(rows));
  const Pass pass = run(1, values_of(previous), {tokens.begin(), tokens.end()});
  modules_[0].cache.truncate(0, 0);
  const Tensor scores = logits(ctx_, model_, pass.normed);
  int64_t right = 0;
  for (int64_t r = 0; r < rows; ++r) {
    const auto row =
        scores.values().subspan(static_cast<size_t>(r * scores.cols()), static_cast<size_t>(scores.cols()));
    right += most_likely(row) == text[static_cast<size_t>(r + 2)] ? 1 : 0;
  }
  return right;
}

bool MtpDrafter::decide_form(const Hidden& rows, std::span<const int32_t> text) {
  const int64_t count = std::min({kTrial, rows.normed.rows(), std::ssize(text) - 2});
  if (count < kFewest) return false;
  std::vector<int64_t> first;
  for (int64_t r = 0; r < count; ++r) first.push_back(r);
  const int64_t before = right_tokens(ops::gather_rows(ctx_, rows.before_norm, first), text);
  const int64_t normed = right_tokens(ops::gather_rows(ctx_, rows.normed, first), text);
  form_ = normed > before ? Form::normed : Form::before_norm;
  return true;
}

}  // namespace frugal
