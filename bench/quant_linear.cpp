// Block-quantised linear layers (quant_linear.h): one row against the bandwidth of a read loop over as many
// bytes of weights, more than the caches hold, and 512 rows in integer operations (two a product) per second;
// "wide": activations of 15 bits.
// Best of many runs.
//   bench_quant_linear [THREADS] [--benchmark_filter=...]
#include "kernels/quant_linear.h"

#include <benchmark/benchmark.h>

#include <string>

#include "kernels/dispatch.h"
#include "tensor/format.h"
#include "timing.h"

namespace frugal::kernels {
namespace {

constexpr int64_t kWeightBytes = 96 << 20;

struct Layer {
  Layer(ThreadPool& pool, const Table& table, const Format& f, int64_t rows_, int64_t in_, int64_t out_,
        bool wide = false)
      : format(f), rows(rows_), in(in_), out(out_), x(static_cast<size_t>(rows * in), 0.5f) {
    w.assign(static_cast<size_t>(out * f.bytes(in)), std::byte{0x11});
    y.resize(static_cast<size_t>(rows * out));
    const PanelForm form{.halves = needs_halves(f.blocks), .wide = wide};
    const QuantizeRows request{.rows = rows, .in = in, .x = x.data(), .form = form};
    memory.resize(static_cast<size_t>(quantized_bytes(table, request) / 4));
    q = quantize(pool, table, {&request, 1}, memory.data()).front();
  }
  QuantLinear problem() {
    return {.format = format.blocks,
            .w = w.data(),
            .w_row = format.bytes(in),
            .out = out,
            .x = &q,
            .y = y.data(),
            .y_row = out};
  }
  const Format& format;
  int64_t rows, in, out;
  std::vector<float> x, y;
  std::vector<std::byte> w;
  std::vector<int32_t> memory;
  QuantizedRows q;
};

void few_rows(benchmark::State& state, ThreadPool& pool, const Table& table, const std::vector<float>& floats,
              const Format& format, int64_t rows, bool wide) {
  constexpr int64_t kIn = 1536;
  Layer layer(pool, table, format, rows, kIn, kWeightBytes / format.bytes(kIn), wide);
  const QuantLinear problem = layer.problem();
  double time = 1e9, bandwidth = 0;
  for (auto _ : state) {
    time = std::min(time, seconds(pool, [&] { quant_linear(pool, table, {&problem, 1}); }));
    bandwidth = std::max(bandwidth, read_bandwidth(pool, table, floats, 1));
  }
  const double bytes = static_cast<double>(layer.w.size());
  state.counters["GB/s"] = bytes / time * 1e-9;
  state.counters["of_read_loop"] = bytes / time / bandwidth;
}

void many_rows(benchmark::State& state, ThreadPool& pool, const Table& table, const Format& format,
               int64_t rows, int64_t in, int64_t out, bool wide) {
  Layer layer(pool, table, format, rows, in, out, wide);
  const QuantLinear problem = layer.problem();
  double time = 1e9;
  for (auto _ : state)
    time = std::min(time, seconds(pool, [&] { quant_linear(pool, table, {&problem, 1}); }));
  state.counters["GOP/s"] = 2.0 * static_cast<double>(rows * in * out) / time * 1e-9;
}

// One row against weights that stay in the second-level cache: what unpacking costs.
void cached(benchmark::State& state, ThreadPool& pool, const Table& table, const Format& format) {
  constexpr int kTimes = 50;
  Layer layer(pool, table, format, 1, 1536, 256);
  const QuantLinear problem = layer.problem();
  double time = 1e9;
  for (auto _ : state) {
    time = std::min(time, seconds(pool, [&] {
                      for (int i = 0; i < kTimes; ++i) quant_linear(pool, table, {&problem, 1});
                    }));
  }
  state.counters["GB/s"] = kTimes * static_cast<double>(layer.w.size()) / time * 1e-9;
}

void quantising(benchmark::State& state, ThreadPool& pool, const Table& table, int64_t rows, int64_t in) {
  const std::vector<float> x(static_cast<size_t>(rows * in), 0.5f);
  const QuantizeRows request{.rows = rows, .in = in, .x = x.data()};
  std::vector<int32_t> memory(static_cast<size_t>(quantized_bytes(table, request) / 4));
  double time = 1e9;
  for (auto _ : state) {
    time = std::min(time, seconds(pool, [&] { quantize(pool, table, {&request, 1}, memory.data()); }));
  }
  state.counters["Gvalues/s"] = static_cast<double>(rows * in) / time * 1e-9;
}

int run(int argc, char** argv) {
  ThreadPool pool(take_threads(argc, argv));
  const std::vector<float> floats(static_cast<size_t>(kWeightBytes) / sizeof(float), 0.25f);
  for (const Table* table : available()) {
    const auto add = [&](const std::string& name, int times, auto body) {
      benchmark::RegisterBenchmark((std::string(table->name) + "/" + name).c_str(), body)
          ->Iterations(times)
          ->Unit(benchmark::kMillisecond);
    };
    add("quantise/512x1536", 20, [=, &pool](auto& state) { quantising(state, pool, *table, 512, 1536); });
    for (const Format* format : all_formats()) {
      if (format->blocks == Blocks::none) continue;
      const std::string name(format->name);
      add(name + "/cached", 20, [=, &pool](auto& state) { cached(state, pool, *table, *format); });
      for (const bool wide : {false, true}) {
        const std::string width = wide ? "/wide" : "";
        for (const int64_t rows : {1, 4, 8}) {
          add(name + "/few/" + std::to_string(rows) + width, 8, [=, &pool, &floats](auto& state) {
            few_rows(state, pool, *table, floats, *format, rows, wide);
          });
        }
        add(name + "/many/512x1536x576" + width, 10,
            [=, &pool](auto& state) { many_rows(state, pool, *table, *format, 512, 1536, 576, wide); });
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
