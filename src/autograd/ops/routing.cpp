#include "autograd/ops/routing.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/error.h"
#include "kernels/rowwise.h"

namespace frugal::ops {
namespace {

constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();
constexpr int64_t kGrain = 32;  // tokens per chunk of work

void score_row(float* row, const RouterOptions& o) {
  if (o.score == RouterScore::sigmoid) {
    for (int64_t e = 0; e < o.experts; ++e) row[e] = 1.0f / (1.0f + std::exp(-row[e]));
    return;
  }
  const float top = *std::max_element(row, row + o.experts);
  float sum = 0;
  for (int64_t e = 0; e < o.experts; ++e) sum += row[e] = std::exp(row[e] - top);
  for (int64_t e = 0; e < o.experts; ++e) row[e] /= sum;
}

// The k largest of values[0..n), ties to the lowest index, in descending order.
void top_k(const float* values, int64_t n, int64_t k, int32_t* out, std::vector<int32_t>& indices) {
  indices.resize(static_cast<size_t>(n));
  for (int64_t i = 0; i < n; ++i) indices[static_cast<size_t>(i)] = static_cast<int32_t>(i);
  std::partial_sort(indices.begin(), indices.begin() + k, indices.end(), [values](int32_t a, int32_t b) {
    return values[a] != values[b] ? values[a] > values[b] : a < b;
  });
  std::copy_n(indices.begin(), k, out);
}

float group_score(const float* values, int64_t n, GroupScore kind) {
  float best = kMinusInfinity, second = kMinusInfinity;
  for (int64_t i = 0; i < n; ++i) {
    if (values[i] > best) {
      second = best;
      best = values[i];
    } else {
      second = std::max(second, values[i]);
    }
  }
  return kind == GroupScore::max || n == 1 ? best : best + second;
}

struct Selector {  // per worker scratch
  std::vector<float> biased, groups;
  std::vector<int32_t> indices, kept;

  void choose(const float* scores, const float* bias, const RouterOptions& o, int32_t* chosen) {
    biased.assign(scores, scores + o.experts);
    if (bias != nullptr) {
      for (int64_t e = 0; e < o.experts; ++e) biased[static_cast<size_t>(e)] += bias[e];
    }
    if (o.per_group) return choose_per_group(o, chosen);
    if (o.groups > 1) keep_best_groups(o);
    top_k(biased.data(), o.experts, o.top_k, chosen, indices);
  }

 private:
  void choose_per_group(const RouterOptions& o, int32_t* chosen) {
    const int64_t size = o.experts / o.groups, each = o.top_k / o.groups;
    for (int64_t g = 0; g < o.groups; ++g, chosen += each) {
      top_k(biased.data() + g * size, size, each, chosen, indices);
      for (int64_t j = 0; j < each; ++j) chosen[j] += static_cast<int32_t>(g * size);
    }
  }
  void keep_best_groups(const RouterOptions& o) {
    const int64_t size = o.experts / o.groups;
    groups.resize(static_cast<size_t>(o.groups));
    kept.resize(static_cast<size_t>(o.top_groups));
    for (int64_t g = 0; g < o.groups; ++g) {
      groups[static_cast<size_t>(g)] = group_score(biased.data() + g * size, size, o.group_score);
    }
    top_k(groups.data(), o.groups, o.top_groups, kept.data(), indices);
    for (int64_t g = 0; g < o.groups; ++g) {
      if (std::find(kept.begin(), kept.end(), static_cast<int32_t>(g)) != kept.end()) continue;
      std::fill_n(biased.begin() + g * size, size, kMinusInfinity);  // not 0: biased scores may be negative
    }
  }
};

void weigh_row(const float* scores, const int32_t* chosen, const RouterOptions& o, float* weights) {
  float sum = 1e-20f;
  for (int64_t j = 0; j < o.top_k; ++j) sum += scores[chosen[j]];
  const float factor = o.normalise ? o.scale / sum : o.scale;
  for (int64_t j = 0; j < o.top_k; ++j) weights[j] = scores[chosen[j]] * factor;
}

// By how much the routing weight of expert e is multiplied.
float scale_of(const Routing& r, int32_t e) {
  return r.expert_scale.empty() ? 1.0f : r.expert_scale[static_cast<size_t>(e)];
}

// Counting sort by expert, tokens in order within one.
void sort_by_expert(Routing& r) {
  const auto experts = static_cast<size_t>(r.options.experts);
  r.counts.assign(experts, 0);
  for (const int32_t e : r.chosen) ++r.counts[static_cast<size_t>(e)];
  r.first.assign(experts + 1, 0);
  for (size_t e = 0; e < experts; ++e) r.first[e + 1] = r.first[e] + r.counts[e];
  std::vector<int64_t> next(r.first.begin(), r.first.end() - 1);
  r.slot.resize(r.chosen.size());
  r.order.resize(r.chosen.size());
  r.weight.resize(r.chosen.size());
  for (size_t i = 0; i < r.chosen.size(); ++i) {
    const auto slot = static_cast<size_t>(next[static_cast<size_t>(r.chosen[i])]++);
    r.slot[i] = static_cast<int32_t>(slot);
    r.order[slot] = static_cast<int32_t>(static_cast<int64_t>(i) / r.options.top_k);
    r.weight[slot] = r.token_weight[i];
  }
}

// DeepSeek-V3 report eq. 17-20 for one sequence: adds f_i and P_i's product, and keeps d/dP_i / T.
double balance_sequence(Routing& r, int64_t begin, int64_t end, double weight, float* gradient) {
  const RouterOptions& o = r.options;
  const auto tokens = static_cast<double>(end - begin);
  std::vector<double> f(static_cast<size_t>(o.experts), 0.0), p(f);
  std::vector<int32_t> best(static_cast<size_t>(o.top_k)), indices;
  for (int64_t t = begin; t < end; ++t) {
    const float* s = r.scores.data() + t * o.experts;
    double sum = 0;
    for (int64_t e = 0; e < o.experts; ++e) sum += s[e];
    for (int64_t e = 0; e < o.experts; ++e) p[static_cast<size_t>(e)] += s[e] / sum / tokens;
    if (o.per_group) {
      std::copy_n(r.chosen.begin() + t * o.top_k, o.top_k, best.begin());
    } else {
      top_k(s, o.experts, o.top_k, best.data(), indices);  // of the unbiased scores
    }
    for (const int32_t e : best) f[static_cast<size_t>(e)] += 1;
  }
  double loss = 0;
  for (size_t e = 0; e < f.size(); ++e) {
    f[e] *= static_cast<double>(o.experts) / (static_cast<double>(o.top_k) * tokens);
    loss += weight * f[e] * p[e];
    gradient[e] = static_cast<float>(weight * f[e] / tokens);
  }
  return loss;
}

void add_balance_loss(const Context& ctx, Routing& r, std::span<const int64_t> offsets) {
  if (ctx.aux == nullptr || ctx.aux->balance_alpha == 0) return;
  r.offsets.assign(offsets.begin(), offsets.end());
  const size_t sequences = offsets.size() - 1;
  const int64_t over =
      ctx.aux->balance_sequences > 0 ? ctx.aux->balance_sequences : static_cast<int64_t>(sequences);
  r.balance.assign(sequences * static_cast<size_t>(r.options.experts), 0.0f);
  double loss = 0;
  for (size_t s = 0; s < sequences; ++s) {
    if (offsets[s] == offsets[s + 1]) continue;
    loss +=
        balance_sequence(r, offsets[s], offsets[s + 1], ctx.aux->balance_alpha / static_cast<double>(over),
                         r.balance.data() + s * static_cast<size_t>(r.options.experts));
  }
  ctx.aux->add_balance_loss(loss);
}

void choose_in_turn(Routing& r) {
  for (size_t i = 0; i < r.chosen.size(); ++i) {
    r.chosen[i] = static_cast<int32_t>(static_cast<int64_t>(i) % r.options.experts);
  }
}

// Gradient of the scores of one token into `ds` (E, zeroed by us), from its routing weights and the balance
// loss.
void score_gradient(const Routing& r, int64_t token, std::span<const float> dweights, const float* balance,
                    float* ds) {
  const RouterOptions& o = r.options;
  const float* s = r.scores.data() + token * o.experts;
  const int32_t* chosen = r.chosen.data() + token * o.top_k;
  const int32_t* slot = r.slot.data() + token * o.top_k;
  std::fill_n(ds, o.experts, 0.0f);
  float sum = 1e-20f, mixed = 0;
  for (int64_t j = 0; j < o.top_k; ++j) {
    sum += s[chosen[j]];
    mixed += dweights[static_cast<size_t>(slot[j])] * scale_of(r, chosen[j]) * s[chosen[j]];
  }
  for (int64_t j = 0; j < o.top_k; ++j) {
    const float d = dweights[static_cast<size_t>(slot[j])] * scale_of(r, chosen[j]);
    ds[chosen[j]] += o.normalise ? o.scale * (d - mixed / sum) / sum : o.scale * d;
  }
  if (balance == nullptr) return;
  float total = 0, inner = 0;
  for (int64_t e = 0; e < o.experts; ++e) {
    total += s[e];
    inner += balance[e] * s[e];
  }
  for (int64_t e = 0; e < o.experts; ++e) ds[e] += (balance[e] - inner / total) / total;
}

void score_to_logit_gradient(const RouterOptions& o, const float* s, float* ds) {
  if (o.score == RouterScore::sigmoid) {
    for (int64_t e = 0; e < o.experts; ++e) ds[e] *= s[e] * (1.0f - s[e]);
    return;
  }
  float inner = 0;
  for (int64_t e = 0; e < o.experts; ++e) inner += ds[e] * s[e];
  for (int64_t e = 0; e < o.experts; ++e) ds[e] = s[e] * (ds[e] - inner);
}

}  // namespace

Routing route(const Context& ctx, Tensor& logits, const Tensor& bias, const Tensor& expert_scale,
              std::span<const int64_t> offsets, const RouterOptions& o) {
  Routing r;
  r.options = o;
  r.rows = logits.rows();
  r.chosen.resize(static_cast<size_t>(r.rows * o.top_k));
  r.token_weight.assign(r.chosen.size(), 0.0f);
  if (ctx.dry_run()) {
    choose_in_turn(r);
    sort_by_expert(r);
    return r;
  }
  const float* bias_values = bias ? bias.f32() : nullptr;
  if (expert_scale) r.expert_scale.assign(expert_scale.f32(), expert_scale.f32() + o.experts);
  float* scores = logits.f32();
  ctx.pool.parallel_for(r.rows, kGrain, [&](int64_t begin, int64_t end, int) {
    Selector selector;
    for (int64_t t = begin; t < end; ++t) {
      float* row = scores + t * o.experts;
      score_row(row, o);
      int32_t* chosen = r.chosen.data() + t * o.top_k;
      selector.choose(row, bias_values, o, chosen);
      float* weights = r.token_weight.data() + t * o.top_k;
      weigh_row(row, chosen, o, weights);
      for (int64_t j = 0; j < o.top_k; ++j) weights[j] *= scale_of(r, chosen[j]);
    }
  });
  r.scores.assign(scores, scores + logits.size());
  sort_by_expert(r);
  add_balance_loss(ctx, r, offsets);
  return r;
}

void routing_backward(const Context& ctx, const Routing& r, std::span<const float> dweights, float* dlogits) {
  const int64_t experts = r.options.experts;
  std::vector<int32_t> sequence;
  if (!r.balance.empty()) {
    sequence.resize(static_cast<size_t>(r.rows));
    for (size_t s = 0; s + 1 < r.offsets.size(); ++s) {
      std::fill(sequence.begin() + r.offsets[s], sequence.begin() + r.offsets[s + 1],
                static_cast<int32_t>(s));
    }
  }
  ctx.pool.parallel_for(r.rows, kGrain, [&](int64_t begin, int64_t end, int) {
    for (int64_t t = begin; t < end; ++t) {
      const float* balance =
          r.balance.empty() ? nullptr : r.balance.data() + sequence[static_cast<size_t>(t)] * experts;
      float* ds = dlogits + t * experts;
      score_gradient(r, t, dweights, balance, ds);
      score_to_logit_gradient(r.options, r.scores.data() + t * experts, ds);
    }
  });
}

void expert_scale_backward(const Routing& r, std::span<const float> dweights, float* dscale) {
  const RouterOptions& o = r.options;
  std::vector<float> weights(static_cast<size_t>(o.top_k));
  for (int64_t t = 0; t < r.rows; ++t) {
    const int32_t* chosen = r.chosen.data() + t * o.top_k;
    weigh_row(r.scores.data() + t * o.experts, chosen, o, weights.data());
    for (int64_t j = 0; j < o.top_k; ++j) {
      const auto slot = static_cast<size_t>(r.slot[static_cast<size_t>(t * o.top_k + j)]);
      dscale[chosen[j]] += dweights[slot] * weights[static_cast<size_t>(j)];
    }
  }
}

void gather(const Context& ctx, const Routing& r, const float* x, int64_t width, float* rows) {
  kernels::gather_rows(ctx.pool, ctx.kernels,
                       {.rows = static_cast<int64_t>(r.order.size()),
                        .dim = width,
                        .x = x,
                        .index = r.order.data(),
                        .out = rows});
}

void scatter_add(const Context& ctx, const Routing& r, const float* rows, int64_t width, float* x) {
  kernels::combine_rows(ctx.pool, ctx.kernels,
                        {.rows = r.rows,
                         .dim = width,
                         .k = r.options.top_k,
                         .x = rows,
                         .slot = r.slot.data(),
                         .out = x,
                         .accumulate = true});
}

void combine(const Context& ctx, const Routing& r, const float* rows, int64_t width, float* y) {
  kernels::combine_rows(ctx.pool, ctx.kernels,
                        {.rows = r.rows,
                         .dim = width,
                         .k = r.options.top_k,
                         .x = rows,
                         .slot = r.slot.data(),
                         .weight = r.token_weight.data(),
                         .out = y});
}

}  // namespace frugal::ops
