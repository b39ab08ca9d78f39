// Packed products at training sizes beside the machine's own peak, the dot form of linear.h and, when
// libopenblas is installed, OpenBLAS (opened at run time; OPENBLAS_CORETYPE chooses its kernels). Each figure
// is the best of many runs, taken in turns: "peak" is the fraction of the FMA loop on all threads, "blas" and
// "dot" the ratio of their times to ours.
//   bench_gemm [THREADS] [--benchmark_filter=...]
#include "kernels/gemm.h"

#include <benchmark/benchmark.h>
#include <dlfcn.h>

#include <algorithm>
#include <string>
#include <vector>

#include "core/huge_pages.h"
#include "core/rng.h"
#include "kernels/dispatch.h"
#include "kernels/linear.h"
#include "timing.h"

namespace frugal::kernels {
namespace {

using Sgemm = void (*)(int, int, int, int, int, int, float, const float*, int, const float*, int, float,
                       float*, int);
Sgemm open_blas(int threads) {
  void* library = dlopen("libopenblas.so.0", RTLD_NOW);
  if (!library) return nullptr;
  if (void* set = dlsym(library, "openblas_set_num_threads")) reinterpret_cast<void (*)(int)>(set)(threads);
  return reinterpret_cast<Sgemm>(dlsym(library, "cblas_sgemm"));
}

struct Shape {
  const char* name;
  int64_t m, n, k;
  char a, b;            // 'n': row-major as (m, k) or (k, n); 't': the transposed matrix is row-major
  int groups = 1;       // experts
  bool skewed = false;  // half of all rows go to the first expert, a quarter to the second, ...

  int64_t rows(int64_t group) const {
    if (!skewed) return m;
    const int64_t all = m * groups;
    return group + 1 < groups ? all >> (group + 1) : all >> group;
  }
};

constexpr Shape kShapes[] = {
    {"X.Wt", 2048, 384, 384, 'n', 't'},
    {"X.Wt", 2048, 1024, 384, 'n', 't'},
    {"X.Wt", 2048, 384, 1024, 'n', 't'},
    {"X.Wt", 2048, 2048, 384, 'n', 't'},
    {"dY.W", 2048, 384, 384, 'n', 'n'},
    {"dY.W", 2048, 384, 1024, 'n', 'n'},
    {"dY.W", 2048, 1024, 384, 'n', 'n'},
    {"dY.W", 2048, 384, 2048, 'n', 'n'},
    {"dYt.X", 384, 384, 2048, 't', 'n'},
    {"dYt.X", 1024, 384, 2048, 't', 'n'},
    {"dYt.X", 384, 1024, 2048, 't', 'n'},
    {"dYt.X", 2048, 384, 2048, 't', 'n'},
    {"square", 1024, 1024, 1024, 'n', 'n'},
    {"experts X.Wt", 512, 256, 384, 'n', 't', 16},
    {"experts dYt.X", 256, 384, 512, 't', 'n', 16},
    {"skewed X.Wt", 512, 256, 384, 'n', 't', 8, true},
    {"even X.Wt", 512, 256, 384, 'n', 't', 8},
    {"small", 64, 96, 128, 'n', 't'},
    // GPT-2 with 256 tokens a step
    {"X.W", 256, 2304, 768, 'n', 'n'},
    {"X.W", 256, 768, 3072, 'n', 'n'},
    {"dY.Wt", 256, 3072, 768, 'n', 't'},
    {"dY.Wt", 256, 768, 2304, 'n', 't'},
    {"Xt.dY", 768, 3072, 256, 't', 'n'},
    {"Xt.dY", 3072, 768, 256, 't', 'n'},
    {"head X.Wt", 256, 50257, 768, 'n', 't'},
    {"head dY.W", 256, 768, 50257, 'n', 'n'},
    {"head dYt.X", 50257, 768, 256, 't', 'n'},
};

struct Data {
  std::vector<float> a, b, c;
  std::vector<Gemm> problems;
};

Data make(const Shape& s) {
  Data data;
  Rng rng(1);
  const auto fill = [&](std::vector<float>& x, int64_t count) {
    x.reserve(static_cast<size_t>(count));
    prefer_huge_pages(x.data(), sizeof(float) * static_cast<size_t>(count));
    x.resize(static_cast<size_t>(count));
    for (float& value : x) value = static_cast<float>(rng.bits()) * 0x1p-31f - 1.0f;
  };
  fill(data.a, s.m * s.k * s.groups);
  fill(data.b, s.k * s.n * s.groups);
  fill(data.c, s.m * s.n * s.groups);
  int64_t above = 0;  // rows of earlier groups
  for (int64_t g = 0; g < s.groups; ++g) {
    data.problems.push_back({.m = s.rows(g),
                             .n = s.n,
                             .k = s.k,
                             .a = data.a.data() + above * s.k,
                             .a_row = s.a == 'n' ? s.k : 1,
                             .a_col = s.a == 'n' ? 1 : s.m,
                             .b = data.b.data() + g * s.k * s.n,
                             .b_type = Element::f32,
                             .b_row = s.b == 'n' ? s.n : 1,
                             .b_col = s.b == 'n' ? 1 : s.k,
                             .c = data.c.data() + above * s.n,
                             .c_row = s.n,
                             .accumulate = false});
    above += s.rows(g);
  }
  return data;
}

void run_blas(Sgemm sgemm, const Shape& s, const Gemm& p, float* c) {
  constexpr int kRowMajor = 101, kPlain = 111, kTransposed = 112;
  const auto i = [](int64_t x) { return static_cast<int>(x); };
  sgemm(kRowMajor, s.a == 'n' ? kPlain : kTransposed, s.b == 'n' ? kPlain : kTransposed, i(p.m), i(p.n),
        i(p.k), 1.0f, p.a, i(std::max(p.a_row, p.a_col)), static_cast<const float*>(p.b),
        i(std::max(p.b_row, p.b_col)), 0.0f, c, i(p.n));
}

std::vector<LinearProblem> as_linear(const std::vector<Gemm>& problems) {
  std::vector<LinearProblem> linear;
  for (const Gemm& p : problems) {
    linear.push_back({.rows = p.m,
                      .in = p.k,
                      .out = p.n,
                      .x = p.a,
                      .x_row = p.a_row,
                      .w = p.b,
                      .w_type = p.b_type,
                      .w_row = p.b_col,
                      .bias = nullptr,
                      .y = p.c,
                      .y_row = p.c_row,
                      .accumulate = false});
  }
  return linear;
}

void measure(benchmark::State& state, ThreadPool& pool, const Table& table, const Shape& shape,
             Precision precision, double peak, Sgemm sgemm) {
  Data data = make(shape);
  const std::vector<LinearProblem> linear_problems = as_linear(data.problems);
  const bool dot_form = shape.a == 'n' && shape.b == 't' && precision == Precision::f32;
  const double flops = 2.0 * static_cast<double>(shape.m * shape.n * shape.k * shape.groups);
  double ours = 1e9, blas = 1e9, dot = 1e9;
  for (auto _ : state) {
    ours = std::min(ours, seconds(pool, [&] { gemm(pool, table, data.problems, precision); }));
    if (dot_form) dot = std::min(dot, seconds(pool, [&] { linear(pool, table, linear_problems); }));
    if (!sgemm) continue;
    blas = std::min(blas, seconds(pool, [&] {
                      for (const Gemm& p : data.problems) run_blas(sgemm, shape, p, p.c);
                    }));
  }
  state.counters["gflops"] = flops / ours * 1e-9;
  state.counters["peak"] = flops / ours / peak;
  if (dot_form) state.counters["dot"] = dot / ours;
  if (sgemm) state.counters["blas"] = blas / ours;
}

int run(int argc, char** argv) {
  ThreadPool pool(take_threads(argc, argv));
  Sgemm sgemm = open_blas(pool.size());
  for (const Table* table : available()) {
    const double peak = peak_flops(pool, *table);
    benchmark::AddCustomContext(std::string("peak_gflops_") + table->name, std::to_string(peak * 1e-9));
    for (const Shape& shape : kShapes) {
      for (const Precision precision : {Precision::f32, Precision::bf16}) {
        const bool best_f32 = table == &best() && precision == Precision::f32;
        const std::string name = std::string(table->name) +
                                 (precision == Precision::f32 ? "/f32/" : "/bf16/") + shape.name + "/" +
                                 std::to_string(shape.m) + "x" + std::to_string(shape.n) + "x" +
                                 std::to_string(shape.k) + "/" + std::to_string(shape.groups);
        benchmark::RegisterBenchmark(name.c_str(),
                                     [=, &pool, &shape](benchmark::State& state) {
                                       measure(state, pool, *table, shape, precision, peak,
                                               best_f32 ? sgemm : nullptr);
                                     })
            ->Iterations(2 * shape.m * shape.n * shape.k < int64_t{10'000'000'000} ? 60 : 6)
            ->Unit(benchmark::kMicrosecond);
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
