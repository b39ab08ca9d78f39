// Linear layers as dot products (linear.h): few rows against the bandwidth of a read loop over the same
// weights, which are larger than the caches, and many rows against the FMA loop. Best of many runs.
//   bench_linear [THREADS] [--benchmark_filter=...]
#include "kernels/linear.h"

#include <benchmark/benchmark.h>

#include <string>

#include "kernels/dispatch.h"
#include "timing.h"

namespace frugal::kernels {
namespace {

constexpr int64_t kIn = 1024, kOut = 32768;  // 128 MB of f32

// What is multiplied: f32 with weights in f32 or bf16, or pairs of bf16.
struct Kind {
  const char* name;
  Element type;
  Precision precision;
};
constexpr Kind kKinds[] = {{"f32", Element::f32, Precision::f32},
                           {"bf16", Element::bf16, Precision::f32},
                           {"pairs", Element::bf16, Precision::bf16}};

void few_rows(benchmark::State& state, ThreadPool& pool, const Table& table, const std::vector<float>& w,
              Kind kind, int64_t rows) {
  const std::vector<float> x(static_cast<size_t>(rows * kIn), 0.5f);
  const int64_t out = kind.type == Element::f32 ? kOut : 2 * kOut;  // the same bytes
  std::vector<float> y(static_cast<size_t>(rows * out));
  const LinearProblem problem{.rows = rows,
                              .in = kIn,
                              .out = out,
                              .x = x.data(),
                              .x_row = kIn,
                              .w = w.data(),
                              .w_type = kind.type,
                              .w_row = kIn,
                              .bias = nullptr,
                              .y = y.data(),
                              .y_row = out,
                              .precision = kind.precision};
  double time = 1e9, bandwidth = 0;
  for (auto _ : state) {
    time = std::min(time, seconds(pool, [&] { linear(pool, table, {&problem, 1}); }));
    bandwidth = std::max(bandwidth, read_bandwidth(pool, table, w, 1));
  }
  const double bytes = static_cast<double>(w.size() * sizeof(float));
  state.counters["GB/s"] = bytes / time * 1e-9;
  state.counters["of_read_loop"] = bytes / time / bandwidth;
}

void many_rows(benchmark::State& state, ThreadPool& pool, const Table& table, const std::vector<float>& w,
               Kind kind, int64_t rows, int64_t in, int64_t out) {
  const std::vector<float> x(static_cast<size_t>(rows * in), 0.5f);
  std::vector<float> y(static_cast<size_t>(rows * out));
  const LinearProblem problem{.rows = rows,
                              .in = in,
                              .out = out,
                              .x = x.data(),
                              .x_row = in,
                              .w = w.data(),
                              .w_type = kind.type,
                              .w_row = in,
                              .bias = nullptr,
                              .y = y.data(),
                              .y_row = out,
                              .precision = kind.precision};
  double time = 1e9;
  for (auto _ : state) time = std::min(time, seconds(pool, [&] { linear(pool, table, {&problem, 1}); }));
  const double flops = 2.0 * static_cast<double>(rows * in * out);
  state.counters["gflops"] = flops / time * 1e-9;
  state.counters["peak"] = flops / time / peak_flops(pool, table);
}

int run(int argc, char** argv) {
  ThreadPool pool(take_threads(argc, argv));
  const std::vector<float> w(static_cast<size_t>(kIn * kOut), 0.25f);  // as bf16: pairs of 0 and 0.25
  for (const Table* table : available()) {
    for (const Kind& kind : kKinds) {
      if (kind.precision == Precision::bf16 && !table->bf16_pairs) continue;
      const std::string name = std::string(table->name) + "/" + kind.name + "/";
      for (const int64_t rows : {1, 2, 4, 8, 16}) {
        benchmark::RegisterBenchmark(
            (name + "few/" + std::to_string(rows)).c_str(),
            [=, &pool, &w](auto& state) { few_rows(state, pool, *table, w, kind, rows); })
            ->Iterations(8)
            ->Unit(benchmark::kMillisecond);
      }
      for (const auto& [in, out] : {std::pair<int64_t, int64_t>{384, 1024}, {1024, 384}, {2048, 2048}}) {
        const std::string shape = "many/512x" + std::to_string(in) + "x" + std::to_string(out);
        benchmark::RegisterBenchmark(
            (name + shape).c_str(),
            [=, &pool, &w](auto& state) { many_rows(state, pool, *table, w, kind, 512, in, out); })
            ->Iterations(20)
            ->Unit(benchmark::kMillisecond);
      }
    }
  }
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}

}  // namespace
}  // namespace frugal::kernels

int main(int argc, char** argv) {
  return frugal::kernels::run(argc, argv);
}
