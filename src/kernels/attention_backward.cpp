// Scheduling of the backward. A (sequence, kv head) is normally one item, which forms scores once for dk, dv
// and dq (5 products). When there are too few of them for the threads, dk and dv are cut by keys and dq by
// rows into items of their own, which form scores twice (7 products) but keep every order of addition, hence
// every bit.
#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "kernels/attention_plan.h"

namespace frugal::kernels {
namespace {

struct Item {
  AttentionHead head;
  AttentionGradTask task;
  double work;
};

struct Gradients {
  const float* dout;
  int64_t dout_row;
  const float *lse, *delta;
  float* dq;
  int64_t dq_row;
  bool accumulate;
};

AttentionGradScratch carve_scratch(Carver& carver, const Attention& a) {
  const int64_t qk = padded(a.qk_dim), v = padded(a.v_dim);
  AttentionGradScratch s{};
  s.q = carver.take(kRowBlock * qk);
  s.q_steps = carver.take(kRowBlock / 2 * qk);
  s.dq = carver.take(kRowBlock * qk);
  s.dout = carver.take(kRowBlock * v);
  s.dout_steps = carver.take(kRowBlock / 2 * v);
  for (float** scores : {&s.weights, &s.dscores}) *scores = carver.take(kRowBlock * kKeyBlock);
  for (float** pairs : {&s.weight_steps, &s.dscore_steps, &s.dscore_rows}) {
    *pairs = carver.take(kRowBlock / 2 * kKeyBlock);
  }
  s.key_columns = carver.take(a.qk_dim * kGradKeys);
  s.key_steps = carver.take(kGradKeys * qk);
  s.value_columns = carver.take(a.v_dim * kGradKeys);
  s.dk = carver.take(kGradKeys * qk);
  s.dv = carver.take(kGradKeys * v);
  return s;
}

void clear_rows(float* x, int64_t row, int64_t width, int64_t count) {
  for (int64_t i = 0; i < count; ++i) std::fill_n(x + i * row, width, 0.0f);
}

// Queries that see no key and keys that no query sees have no item, and no gradient.
void clear_alone(const Attention& a, const Gradients& g) {
  for (const AttentionSpan& span : a.spans) {
    const int64_t queries = span.query_end - span.query_begin;
    if (span.keys == 0) {
      clear_rows(g.dq + span.query_begin * g.dq_row, g.dq_row, a.heads * a.qk_dim, queries);
    } else if (queries == 0 && span.dk && span.dv) {
      clear_rows(span.dk, a.k_row, a.kv_heads * a.qk_dim, span.keys);
      clear_rows(span.dv, a.v_row, a.kv_heads * a.v_dim, span.keys);
    }
  }
}

// One item per span and kv head.
std::vector<Item> whole_items(const Attention& a, const Gradients& g) {
  const int64_t group = a.heads / a.kv_heads;
  std::vector<Item> items;
  for (const AttentionSpan& span : a.spans) {
    for (int64_t kv_head = 0; kv_head < a.kv_heads; ++kv_head) {
      const AttentionHead head = attention_head(a, span, kv_head);
      const int64_t rows = head.queries * group, first = span.query_begin, h = kv_head * group;
      if (rows == 0 || head.keys == 0) continue;
      items.push_back({head,
                       {.row_begin = 0,
                        .row_end = rows,
                        .key_begin = 0,
                        .key_end = head.keys,
                        .qk_padded = padded(a.qk_dim),
                        .dout = g.dout + first * g.dout_row + h * a.v_dim,
                        .dout_row = g.dout_row,
                        .lse = g.lse + first * a.heads + h,
                        .delta = g.delta + first * a.heads + h,
                        .lse_row = a.heads,
                        .dq = g.dq + first * g.dq_row + h * a.qk_dim,
                        .dq_row = g.dq_row,
                        .dk = span.dk + kv_head * a.qk_dim,
                        .dv = span.dv + kv_head * a.v_dim,
                        .accumulate = g.accumulate,
                        .scratch = {}},
                       attention_work(head, 0, rows)});
    }
  }
  return items;
}

// Cuts an item in two kinds: keys for dk and dv, rows for dq; pieces of about `wanted` work.
void cut(const Item& item, double wanted, std::vector<Item>& out) {
  const auto pieces = static_cast<int64_t>(item.work / wanted) + 1;
  const auto step = [&](int64_t count, int64_t block) {
    return std::max<int64_t>(1, (count + pieces * block - 1) / (pieces * block)) * block;
  };
  const int64_t keys = step(item.task.key_end, kKeyBlock), rows = step(item.task.row_end, kRowBlock);
  for (int64_t key = 0; key < item.task.key_end; key += keys) {
    Item part = item;
    part.task.key_begin = key;
    part.task.key_end = std::min(item.task.key_end, key + keys);
    part.task.dq = nullptr;
    part.work = item.work * 4 / 7 * static_cast<double>(keys) / static_cast<double>(item.task.key_end);
    out.push_back(part);
  }
  for (int64_t row = 0; row < item.task.row_end; row += rows) {
    Item part = item;
    part.task.row_begin = row;
    part.task.row_end = std::min(item.task.row_end, row + rows);
    part.task.dk = part.task.dv = nullptr;
    part.work = item.work * 3 / 7 * static_cast<double>(rows) / static_cast<double>(item.task.row_end);
    out.push_back(part);
  }
}

std::vector<Item> plan(const Attention& a, const Gradients& g, int threads) {
  std::vector<Item> items = whole_items(a, g);
  double total = 0, longest = 0;
  for (const Item& item : items) {
    total += item.work;
    longest = std::max(longest, item.work);
  }
  const double share = total / threads;
  // Uncut, the last thread may finish `longest` after the others; cut, there is 7 / 5 of the work.
  if (threads > 1 && 5 * std::max(longest, share + longest / 2) > 7 * share) {
    std::vector<Item> parts;
    for (const Item& item : items) cut(item, share / 4, parts);
    items = std::move(parts);
  }
  std::stable_sort(items.begin(), items.end(), [](const Item& x, const Item& y) { return x.work > y.work; });
  return items;
}

// A sink's weight is exp(sink - lse) and its value is 0, so its score's gradient is -weight * delta.
void add_sink_gradients(ThreadPool& pool, const Attention& a, const Gradients& g, float* dsinks) {
  pool.parallel_for(a.heads, 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t head = begin; head < end; ++head) {
      double sum = 0;
      for (const AttentionSpan& span : a.spans) {
        for (int64_t row = span.query_begin; row < span.query_end; ++row) {
          const int64_t at = row * a.heads + head;
          sum -= std::exp(static_cast<double>(a.sinks[head]) - static_cast<double>(g.lse[at])) *
                 static_cast<double>(g.delta[at]);
        }
      }
      dsinks[head] += static_cast<float>(sum);
    }
  });
}

}  // namespace

void attention_backward(ThreadPool& pool, const Table& table, const Attention& args, const float* out,
                        int64_t out_row, const float* dout, int64_t dout_row, const float* lse, float* dq,
                        int64_t dq_row, float* dsinks, bool accumulate) {
  check_attention(args);
  CHECK(args.kv_type == KvType::f32, "the backward reads keys and values as f32");
  int64_t rows = 0;
  for (const AttentionSpan& span : args.spans) {
    CHECK(span.query_begin == span.query_end || span.keys == 0 || (span.dk && span.dv),
          "a span without dk, dv");
    rows = std::max(rows, span.query_end);
  }
  Carver sizes;
  carve_scratch(sizes, args);
  const int64_t each = sizes.taken(), delta_floats = padded(rows * args.heads);
  auto* memory = static_cast<float*>(pool.scratch(
      pool.this_worker(), sizeof(float) * static_cast<size_t>(delta_floats + each * pool.size())));
  for (const AttentionSpan& span : args.spans) {
    pool.parallel_for(span.query_end - span.query_begin, 64, [&](int64_t begin, int64_t end, int) {
      const int64_t row = span.query_begin + begin;
      table.attention_delta(end - begin, args.heads, args.v_dim, out + row * out_row, out_row,
                            dout + row * dout_row, dout_row, memory + row * args.heads);
    });
  }
  const Gradients gradients = {dout, dout_row, lse, memory, dq, dq_row, accumulate};
  if (!accumulate) clear_alone(args, gradients);
  const std::vector<Item> items = plan(args, gradients, pool.size());
  pool.parallel_for(static_cast<int64_t>(items.size()), 1, [&](int64_t begin, int64_t end, int worker) {
    Carver carver(memory + delta_floats + each * worker);
    const AttentionGradScratch scratch = carve_scratch(carver, args);
    for (int64_t i = begin; i < end; ++i) {
      AttentionGradTask task = items[static_cast<size_t>(i)].task;
      task.scratch = scratch;
      table.attention_backward(items[static_cast<size_t>(i)].head, task);
    }
  });
  if (args.sinks && dsinks) add_sink_gradients(pool, args, gradients, dsinks);
}

}  // namespace frugal::kernels
