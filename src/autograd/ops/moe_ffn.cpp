// Routed experts (DeepSeek-V3 report §2.1.2). Tokens are gathered once, sorted by expert; all experts of a
// product are one grouped GEMM, so skewed loads are still shared evenly. Kept for backward: gate and up
// products, the routing; the rest is recomputed. The gradient of a routing weight is <dout W_down, silu(g)
// u>, so expert outputs need not be kept.
#include "autograd/ops/routing.h"

#include <numeric>

#include "autograd/ops.h"
#include "autograd/ops/matmul.h"
#include "core/error.h"
#include "kernels/rowwise.h"

namespace frugal::ops {
namespace {

struct Moe {
  std::vector<Tensor> gate, up, down;
  Routing routing;
  int64_t width = 0, inner = 0;  // D, F

  int64_t slots() const { return static_cast<int64_t>(routing.order.size()); }
};

// Weights of the experts that got tokens; rows of expert e are [first[e], first[e+1]).
std::vector<WeightView> view_used(const Moe& moe, const std::vector<Tensor>& weights) {
  std::vector<WeightView> views(weights.size());
  for (size_t e = 0; e < weights.size(); ++e) {
    if (moe.routing.counts[e] > 0) views[e] = view_weight(weights[e]);
  }
  return views;
}

// Products of every expert's rows of x with its weight in each of the lists, into that list's output.
struct ExpertOutputs {
  const std::vector<Tensor>& weights;
  float* y;
};
void grouped_forward(const Context& ctx, const Moe& moe, const float* x,
                     std::initializer_list<ExpertOutputs> outputs) {
  std::vector<Product> products;
  for (size_t e = 0; e < moe.gate.size(); ++e) {
    const int64_t begin = moe.routing.first[e], rows = moe.routing.counts[e];
    if (rows == 0) continue;
    for (const auto& [weights, y] : outputs) {
      const Tensor& w = weights[e];
      products.push_back({x + begin * w.cols(), rows, &w, y + begin * w.dim(0)});
    }
  }
  multiply(ctx, products);
}

void grouped_input_gradient(const Context& ctx, const Moe& moe, const std::vector<Tensor>& weights,
                            const float* dy, float* dx, bool accumulate) {
  const int64_t in = weights.front().cols(), out = weights.front().dim(0);
  const std::vector<WeightView> views = view_used(moe, weights);
  std::vector<kernels::Gemm> problems;
  for (size_t e = 0; e < weights.size(); ++e) {
    const int64_t begin = moe.routing.first[e], rows = moe.routing.counts[e];
    if (rows == 0) continue;
    problems.push_back(
        input_gradient_problem(dy + begin * out, weights[e], views[e], rows, {dx + begin * in, accumulate}));
  }
  kernels::gemm(ctx.pool, ctx.kernels, problems, precision(ctx));
}

// Experts that saw no token still get a gradient (zero): whether a weight has one must not depend on the
// data.
void grouped_weight_gradient(const Context& ctx, const Moe& moe, const std::vector<Tensor>& weights,
                             const float* dy, const float* x) {
  if (!weights.front().needs_gradient()) return;
  const int64_t in = weights.front().cols(), out = weights.front().dim(0);
  std::vector<kernels::Gemm> problems;
  for (size_t e = 0; e < weights.size(); ++e) {
    const int64_t begin = moe.routing.first[e], rows = moe.routing.first[e + 1] - begin;
    if (rows == 0) {
      weights[e].gradient_sum(ctx);
      continue;
    }
    const auto dw = weights[e].gradient_target(ctx);
    problems.push_back(weight_gradient_problem(dy + begin * out, x + begin * in, rows, weights[e], dw));
  }
  if (!ctx.dry_run()) kernels::gemm(ctx.pool, ctx.kernels, problems, precision(ctx));
}

void swiglu_all(const Context& ctx, const Moe& moe, const Tensor& g, const Tensor& u, float* h) {
  kernels::swiglu_forward(ctx.pool, ctx.kernels,
                          {.rows = moe.slots(), .cols = moe.inner, .gate = g.f32(), .up = u.f32(), .out = h});
}

// Gradients of the experts' weights and of the gathered inputs `dxs`; d(routing weight) into `dweights`
// (slots).
void experts_backward(const Context& ctx, const Moe& moe, const Tensor& x, const Tensor& g, const Tensor& u,
                      const float* dout, Tensor& dxs, std::vector<float>& dweights) {
  const int64_t slots = moe.slots(), width = moe.width, inner = moe.inner;
  Tensor rows = Tensor::empty(ctx, {slots, width});  // first dout, then x, gathered
  Tensor dh = Tensor::empty(ctx, {slots, inner});
  Tensor h = Tensor::empty(ctx, {slots, inner});
  if (!ctx.dry_run()) {
    gather(ctx, moe.routing, dout, width, rows.f32());
    swiglu_all(ctx, moe, g, u, h.f32());
    grouped_input_gradient(ctx, moe, moe.down, rows.f32(), dh.f32(), false);
    ctx.pool.parallel_for(slots, 32, [&](int64_t begin, int64_t end, int) {
      for (int64_t s = begin; s < end; ++s) {  // h becomes weight * h, dh becomes weight * dh
        const float weight = moe.routing.weight[static_cast<size_t>(s)];
        float* hs = h.f32() + s * inner;
        float* ds = dh.f32() + s * inner;
        float sum = 0;
        for (int64_t i = 0; i < inner; ++i) {
          sum += hs[i] * ds[i];
          hs[i] *= weight;
          ds[i] *= weight;
        }
        dweights[static_cast<size_t>(s)] = sum;
      }
    });
  }
  grouped_weight_gradient(ctx, moe, moe.down, rows.f32(), h.f32());
  Tensor dup = h;  // reuse: h is no longer needed
  if (!ctx.dry_run()) {
    gather(ctx, moe.routing, x.f32(), width, rows.f32());
    kernels::swiglu_backward(ctx.pool, ctx.kernels,
                             {.rows = slots,
                              .cols = inner,
                              .gate = g.f32(),
                              .up = u.f32(),
                              .dout = dh.f32(),
                              .dgate = dh.f32(),
                              .dup = dup.f32()});
  }
  const Tensor& dgate = dh;
  grouped_weight_gradient(ctx, moe, moe.gate, dgate.f32(), rows.f32());
  grouped_weight_gradient(ctx, moe, moe.up, dup.f32(), rows.f32());
  if (!ctx.dry_run()) {
    grouped_input_gradient(ctx, moe, moe.gate, dgate.f32(), dxs.f32(), false);
    grouped_input_gradient(ctx, moe, moe.up, dup.f32(), dxs.f32(), true);
  }
}

void moe_backward(const Context& ctx, const Moe& moe, const Tensor& x, const Tensor& router, const Tensor& g,
                  const Tensor& u, const Tensor& y) {
  Tensor dxs = Tensor::empty(ctx, {moe.slots(), moe.width});
  std::vector<float> dweights(static_cast<size_t>(moe.slots()), 0.0f);
  experts_backward(ctx, moe, x, g, u, y.gradient(), dxs, dweights);
  Tensor dlogits = Tensor::empty(ctx, {x.rows(), router.dim(0)});
  if (!ctx.dry_run()) routing_backward(ctx, moe.routing, dweights, dlogits.f32());
  if (router.needs_gradient()) {
    const auto dw = router.gradient_target(ctx);
    const auto problem = weight_gradient_problem(dlogits.f32(), x.f32(), x.rows(), router, dw);
    if (!ctx.dry_run()) kernels::gemm(ctx.pool, ctx.kernels, {&problem, 1}, kernels::Precision::f32);
  }
  if (x.needs_gradient()) {
    const auto dx = x.gradient_target(ctx);
    if (ctx.dry_run()) return;
    const WeightView view = view_weight(router);
    const auto problem = input_gradient_problem(dlogits.f32(), router, view, x.rows(), dx);
    kernels::gemm(ctx.pool, ctx.kernels, {&problem, 1}, kernels::Precision::f32);
    scatter_add(ctx, moe.routing, dxs.f32(), moe.width, dx.data);
  }
}

}  // namespace

Tensor moe_ffn(Context& ctx, const Tensor& x, const Tensor& router, const Tensor& bias,
               const Experts& experts, std::span<const int64_t> offsets, const RouterOptions& options) {
  CHECK(static_cast<int64_t>(experts.gate.size()) == options.experts && router.dim(0) == options.experts);
  const auto list = [](std::span<const Tensor> s) { return std::vector<Tensor>(s.begin(), s.end()); };
  Moe moe{list(experts.gate), list(experts.up),           list(experts.down), {},
          x.cols(),           experts.gate.front().dim(0)};
  Tensor scores = Tensor::empty(ctx, {x.rows(), options.experts});
  if (!ctx.dry_run()) {
    const WeightView view = view_weight(router);
    const auto problem = forward_problem(x.f32(), x.rows(), router, view, scores.f32());
    kernels::gemm(ctx.pool, ctx.kernels, {&problem, 1}, kernels::Precision::f32);
  }
  moe.routing = route(ctx, scores, bias, offsets, options);
  if (ctx.aux != nullptr) ctx.aux->add_counts(options.layer, moe.routing.counts);

  const int64_t slots = moe.slots();
  Tensor g = Tensor::empty(ctx, {slots, moe.inner}), u = Tensor::empty(ctx, {slots, moe.inner});
  Tensor y = Tensor::empty(ctx, {x.rows(), moe.width});
  {
    Tensor h = Tensor::empty(ctx, {slots, moe.inner});
    Tensor rows = Tensor::empty(ctx, {slots, moe.width});
    if (!ctx.dry_run()) {
      gather(ctx, moe.routing, x.f32(), moe.width, rows.f32());
      grouped_forward(ctx, moe, rows.f32(), {{moe.gate, g.f32()}, {moe.up, u.f32()}});
      swiglu_all(ctx, moe, g, u, h.f32());
      grouped_forward(ctx, moe, h.f32(), {{moe.down, rows.f32()}});
      combine(ctx, moe.routing, rows.f32(), moe.width, y.f32());
    }
  }
  if (recording(ctx, x, router, experts.gate.front(), experts.up.front(), experts.down.front())) {
    y.require_gradient(false);
    ctx.tape->record(y, [moe = std::move(moe), x, router, g, u, y = y.gradient_handle()](const Context& c) {
      moe_backward(c, moe, x, router, g, u, y);
    });
  }
  return y;
}

}  // namespace frugal::ops
