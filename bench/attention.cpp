// Fused attention in training, prefill and decode. Each figure is the best of many runs. "peak": fraction of
// the FMA loop's rate, counting 2 products of the keys a query sees forward and 5 backward (scores are formed
// again); "gbytes": keys and values read per second, which is what bounds decode.
//   bench_attention [--benchmark_filter=avx2/1/forward]      names are instruction set / threads / what /
//   shape
#include "kernels/attention.h"

#include <benchmark/benchmark.h>

#include <string>

#include "core/rng.h"
#include "kernels/dispatch.h"
#include "timing.h"

namespace frugal::kernels {
namespace {

struct Shape {
  const char* name;
  int64_t sequences, queries, keys, heads, kv_heads, qk_dim, v_dim;
  KvType kv_type = KvType::f32;
  bool backward = false;
  bool shared = false;  // values are the keys' first columns: absorbed MLA
  Precision precision = Precision::f32;
};

constexpr Shape kShapes[] = {
    {"train_mla_96_64", 8, 256, 256, 6, 6, 96, 64, KvType::f32, true},
    {"train_one_head_96_64", 1, 256, 256, 1, 1, 96, 64, KvType::f32, true},
    {"train_one_head_64_64_bf16", 1, 256, 256, 1, 1, 64, 64, KvType::f32, true, false, Precision::bf16},
    {"train_six_96_64", 1, 256, 256, 6, 6, 96, 64, KvType::f32, true},
    {"train_64_64", 8, 256, 256, 6, 6, 64, 64, KvType::f32, true},
    {"train_mla_96_64_bf16", 8, 256, 256, 6, 6, 96, 64, KvType::f32, true, false, Precision::bf16},
    {"train_64_64_bf16", 8, 256, 256, 6, 6, 64, 64, KvType::f32, true, false, Precision::bf16},
    {"train_grouped_64", 8, 256, 256, 6, 2, 64, 64, KvType::f32, true},
    {"train_long_128", 1, 2048, 2048, 4, 4, 128, 128, KvType::f32, true},
    {"prefill_512", 1, 512, 512, 9, 3, 64, 64},
    {"prefill_mla_512", 1, 512, 512, 16, 16, 192, 128},
    {"prefill_chunk", 1, 256, 4096, 8, 8, 128, 128},
    {"decode_512_bf16", 1, 1, 512, 9, 3, 64, 64, KvType::bf16},
    {"decode_8192_f32", 1, 1, 8192, 9, 3, 64, 64},
    {"decode_8192_bf16", 1, 1, 8192, 9, 3, 64, 64, KvType::bf16},
    {"decode_8192_q8_0", 1, 1, 8192, 9, 3, 64, 64, KvType::q8_0},
    {"verify_8192_bf16", 1, 6, 8192, 9, 3, 64, 64, KvType::bf16},
    {"decode_4096_f32", 1, 1, 4096, 8, 8, 128, 128},
    {"decode_4096_bf16", 1, 1, 4096, 8, 8, 128, 128, KvType::bf16},
    {"decode_4096_q8_0", 1, 1, 4096, 8, 8, 128, 128, KvType::q8_0},
    {"decode_grouped_4096_bf16", 1, 1, 4096, 32, 8, 128, 128, KvType::bf16},
    {"decode_mla_4096_f32", 1, 1, 4096, 16, 1, 576, 512, KvType::f32, false, true},
    {"decode_mla_4096_bf16", 1, 1, 4096, 16, 1, 576, 512, KvType::bf16, false, true},
    {"decode_mla_4096_pairs", 1, 1, 4096, 16, 1, 576, 512, KvType::bf16, false, true, Precision::bf16},
    {"decode_mla_4096_q8_0", 1, 1, 4096, 16, 1, 576, 512, KvType::q8_0, false, true},
    {"decode_mla_128_bf16", 1, 1, 4096, 128, 1, 576, 512, KvType::bf16, false, true},
};

struct Data {
  std::vector<float> q, k, v, out, lse, dout, dq, dk, dv;
  std::vector<uint16_t> half_k, half_v;
  std::vector<uint8_t> blocks_k, blocks_v;
  std::vector<AttentionSpan> spans;
  Attention args;
};

std::vector<float> random(int64_t n, uint64_t seed) {
  Rng rng(seed);
  std::vector<float> x(static_cast<size_t>(n));
  for (float& v : x) v = static_cast<float>(rng.uniform() - 0.5);
  return x;
}

// q8_0 blocks with a scale of 1/256.
std::vector<uint8_t> random_blocks(int64_t values, uint64_t seed) {
  Rng rng(seed);
  std::vector<uint8_t> x(static_cast<size_t>(values / kQ8Values * kQ8Bytes));
  for (uint8_t& v : x) v = static_cast<uint8_t>(rng.below(256));
  for (size_t i = 0; i < x.size(); i += kQ8Bytes) x[i] = 0, x[i + 1] = 0x1c;
  return x;
}

Data make(const Table& table, const Shape& s) {
  Data d;
  const int64_t rows = s.sequences * s.queries, keys = s.sequences * s.keys;
  const int64_t k_row = s.kv_heads * s.qk_dim, v_row = s.shared ? k_row : s.kv_heads * s.v_dim;
  d.q = random(rows * s.heads * s.qk_dim, 1);
  d.k = random(keys * k_row, 2);
  d.v = s.shared ? std::vector<float>{} : random(keys * v_row, 3);
  d.out.resize(static_cast<size_t>(rows * s.heads * s.v_dim));
  d.lse.resize(static_cast<size_t>(rows * s.heads));
  d.dout = random(rows * s.heads * s.v_dim, 4);
  d.dq.resize(d.q.size());
  d.dk.resize(d.k.size());
  d.dv.resize(d.v.size());
  const bool half = s.kv_type == KvType::bf16;
  if (half) {
    d.half_k.resize(d.k.size());
    d.half_v.resize(d.v.size());
    table.f32_to_bf16(static_cast<int64_t>(d.k.size()), d.k.data(), d.half_k.data());
    table.f32_to_bf16(static_cast<int64_t>(d.v.size()), d.v.data(), d.half_v.data());
  }
  if (s.kv_type == KvType::q8_0) {
    d.blocks_k = random_blocks(keys * k_row, 5);
    if (!s.shared) d.blocks_v = random_blocks(keys * v_row, 6);
  }
  for (int64_t i = 0; i < s.sequences; ++i) {
    const int64_t k_at = i * s.keys * k_row, v_at = i * s.keys * v_row;
    const void* k = half ? static_cast<const void*>(d.half_k.data() + k_at) : d.k.data() + k_at;
    const void* v = half ? static_cast<const void*>(d.half_v.data() + v_at) : d.v.data() + v_at;
    if (s.kv_type == KvType::q8_0) {
      k = d.blocks_k.data() + k_at / kQ8Values * kQ8Bytes;
      v = d.blocks_v.data() + v_at / kQ8Values * kQ8Bytes;
    }
    d.spans.push_back({i * s.queries, (i + 1) * s.queries, k, s.shared ? k : v, s.keys, d.dk.data() + k_at,
                       d.dv.data() + v_at, s.queries < 16});
  }
  d.args = {.heads = s.heads,
            .kv_heads = s.kv_heads,
            .qk_dim = s.qk_dim,
            .v_dim = s.v_dim,
            .q = d.q.data(),
            .q_row = s.heads * s.qk_dim,
            .kv_type = s.kv_type,
            .precision = s.precision,
            .k_row = k_row,
            .v_row = v_row,
            .scale = 0.1f,
            .spans = d.spans};
  return d;
}

void measure(benchmark::State& state, ThreadPool& pool, const Table& table, const Shape& s, bool backward,
             double peak) {
  Data d = make(table, s);
  const int64_t out_row = s.heads * s.v_dim;
  const auto forward = [&] { attention_forward(pool, table, d.args, d.out.data(), out_row, d.lse.data()); };
  forward();
  double best = 1e9;
  for (auto _ : state) {
    best = std::min(best, seconds(pool, [&] {
                      if (!backward) return forward();
                      attention_backward(pool, table, d.args, d.out.data(), out_row, d.dout.data(), out_row,
                                         d.lse.data(), d.dq.data(), s.heads * s.qk_dim, nullptr, false);
                    }));
  }
  const auto n = [](int64_t x) { return static_cast<double>(x); };
  const double seen = n(s.keys) - (n(s.queries) - 1) / 2;
  const double products = backward ? n(3 * s.qk_dim + 2 * s.v_dim) : n(s.qk_dim + s.v_dim);
  const double flops = 2 * products * seen * n(s.queries) * n(s.sequences) * n(s.heads);
  const double width = n(s.kv_heads) * n(s.shared ? s.qk_dim : s.qk_dim + s.v_dim);
  const double bytes = n(s.sequences) * n(s.keys) * width *
                       (s.kv_type == KvType::f32    ? 4.0
                        : s.kv_type == KvType::bf16 ? 2.0
                                                    : 34.0 / 32.0);
  state.counters["us"] = best * 1e6;
  state.counters["gflops"] = flops / best * 1e-9;
  state.counters["peak"] = flops / best / peak;
  state.counters["gbytes"] = bytes / best * 1e-9;
}

int run(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  std::vector<std::unique_ptr<ThreadPool>> pools;
  pools.push_back(std::make_unique<ThreadPool>(1));
  if (default_thread_count() > 1) pools.push_back(std::make_unique<ThreadPool>());
  for (const Table* table : available()) {
    for (const auto& pool : pools) {
      const double peak = peak_flops(*pool, *table);
      const std::string prefix = std::string(table->name) + "/" + std::to_string(pool->size());
      benchmark::AddCustomContext("peak_gflops_" + prefix, std::to_string(peak * 1e-9));
      for (const Shape& shape : kShapes) {
        for (const bool backward : {false, true}) {
          if (backward && !shape.backward) continue;
          const std::string name = prefix + (backward ? "/backward/" : "/forward/") + shape.name;
          benchmark::RegisterBenchmark(name.c_str(), [&, table, peak, backward](benchmark::State& state) {
            measure(state, *pool, *table, shape, backward, peak);
          })->Unit(benchmark::kMicrosecond);
        }
      }
    }
  }
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}

}  // namespace
}  // namespace frugal::kernels

int main(int argc, char** argv) {
  return frugal::kernels::run(argc, argv);
}
