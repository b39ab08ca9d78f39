// Routed experts (DeepSeek-V3 report §2.1.2). Tokens are gathered once, sorted by expert; all experts of a
// product are one grouped GEMM, so skewed loads are still shared evenly. Kept for backward: gate and up
// products, the routing; the rest is recomputed. The gradient of a routing weight is <dout W_down, silu(g)
// u>, so expert outputs need not be kept.
#include "autograd/ops/routing.h"

#include <algorithm>
#include <numeric>

#include "autograd/op_scope.h"
#include "autograd/ops.h"
#include "autograd/ops/low_rank.h"
#include "autograd/ops/matmul.h"
#include "autograd/part_observer.h"
#include "core/error.h"
#include "kernels/linear.h"
#include "kernels/rowwise.h"

namespace frugal::ops {
namespace {

using Tensors = std::span<const Tensor>;

struct Moe {
  Tensors gate, up, down;
  Tensor scale;                           // (1, E) or empty
  Tensors gate_bias, up_bias, down_bias;  // empty: none
  Tensor router_bias;                     // empty: none
  SwigluForm form;
  Routing routing;
  int64_t width = 0, inner = 0;  // D, F
  std::vector<std::shared_ptr<const std::vector<Tensor>>> kept;

  // For as long as this lives: hundreds of copies, which only a backward needs.
  void keep_tensors() {
    for (Tensors* list : {&gate, &up, &down, &gate_bias, &up_bias, &down_bias}) {
      kept.push_back(std::make_shared<const std::vector<Tensor>>(list->begin(), list->end()));
      *list = *kept.back();
    }
  }
  int64_t slots() const { return static_cast<int64_t>(routing.order.size()); }
};

// Weights of the experts that got tokens; rows of expert e are [first[e], first[e+1]).
std::vector<WeightView> view_used(const Moe& moe, Tensors weights) {
  std::vector<WeightView> views(weights.size());
  for (size_t e = 0; e < weights.size(); ++e) {
    if (moe.routing.counts[e] > 0) views[e] = view_weight(weights[e].without_low_rank());
  }
  return views;
}

// Adapters of the experts that got tokens: body(adapter, first row, rows). One after the other: each uses all
// threads.
template <class F>
void for_adapters(const Moe& moe, Tensors weights, F body) {
  for (size_t e = 0; e < weights.size(); ++e) {
    const LowRank* l = weights[e].low_rank();
    if (l != nullptr && moe.routing.counts[e] > 0) body(*l, moe.routing.first[e], moe.routing.counts[e]);
  }
}

bool trains_adapters(Tensors weights) {
  return weights.front().low_rank() != nullptr && weights.front().low_rank()->trains();
}

// Products of every expert's rows of x with its weight in each of the lists, into that list's output.
struct ExpertOutputs {
  Tensors weights;
  float* y;
};
void grouped_forward(const Context& ctx, const Moe& moe, const float* x,
                     std::initializer_list<ExpertOutputs> outputs, Sensitivity sensitivity) {
  std::vector<Tensor> plain;  // matrices without their adapters
  plain.reserve(outputs.size() * moe.gate.size());
  std::vector<Product> products;
  for (size_t e = 0; e < moe.gate.size(); ++e) {
    const int64_t begin = moe.routing.first[e], rows = moe.routing.counts[e];
    if (rows == 0) continue;
    for (const auto& [weights, y] : outputs) {
      const Tensor& w = plain.emplace_back(weights[e].without_low_rank());
      products.push_back({.x = x + begin * w.cols(),
                          .rows = rows,
                          .weight = &w,
                          .y = y + begin * w.dim(0),
                          .sensitivity = sensitivity});
    }
  }
  multiply(ctx, products);
  for (const auto& [weights, y] : outputs) {
    const int64_t in = weights.front().cols(), out = weights.front().dim(0);
    for_adapters(moe, weights, [&, out_rows = y](const LowRank& l, int64_t begin, int64_t rows) {
      Tensor h = Tensor::empty(ctx, {rows, l.rank()});
      low_rank_forward(ctx, l, x + begin * in, rows, h.f32(), out_rows + begin * out);
    });
  }
}

// What a product is going to read: which experts it is has just been decided, so nobody can have learnt it.
void ask_for(const Context& ctx, const Moe& moe, std::initializer_list<Tensors> lists) {
  if (!ctx.stream_weights) return;
  std::vector<MemorySpan> reads;
  for (size_t e = 0; e < moe.gate.size(); ++e) {
    for (const Tensors weights : lists) {
      const Tensor& w = weights[e];
      if (moe.routing.counts[e] > 0) reads.push_back({w.data(), static_cast<size_t>(w.bytes())});
    }
  }
  ctx.pool.ask_for(reads);
}

void grouped_input_gradient(const Context& ctx, const Moe& moe, Tensors weights, const float* dy, float* dx,
                            bool accumulate) {
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
  for_adapters(moe, weights, [&](const LowRank& l, int64_t begin, int64_t rows) {
    Tensor dh = Tensor::empty(ctx, {rows, l.rank()});
    low_rank_input_gradient(ctx, l, dy + begin * out, rows, dh.f32(), {dx + begin * in, true});
  });
}

// The products x A^T and dy B are made again: they are small, and a rank wide.
void grouped_adapter_gradient(const Context& ctx, const Moe& moe, Tensors weights, const float* dy,
                              const float* x) {
  const int64_t in = weights.front().cols(), out = weights.front().dim(0);
  for (const Tensor& weight : weights) {  // with or without tokens
    weight.low_rank()->a.gradient_sum(ctx);
    weight.low_rank()->b.gradient_sum(ctx);
  }
  if (ctx.dry_run()) return;
  for_adapters(moe, weights, [&](const LowRank& l, int64_t begin, int64_t rows) {
    Tensor h = Tensor::empty(ctx, {rows, l.rank()}), dh = Tensor::empty(ctx, {rows, l.rank()});
    low_rank_input(ctx, l, x + begin * in, rows, h.f32());
    low_rank_input_gradient(ctx, l, dy + begin * out, rows, dh.f32(), {nullptr, false});
    low_rank_weight_gradient(ctx, l, x + begin * in, h.f32(), dy + begin * out, dh.f32(), rows);
  });
}

// Gradients of each of the lists from that list's dy, all with the same x. Experts that saw no token still
// get a gradient (zero): whether a weight has one must not depend on the data.
struct ExpertGradients {
  Tensors weights;
  const float* dy;
};
void grouped_weight_gradient(const Context& ctx, const Moe& moe, const float* x,
                             std::initializer_list<ExpertGradients> lists) {
  for (const auto& [weights, dy] : lists) {
    if (trains_adapters(weights)) grouped_adapter_gradient(ctx, moe, weights, dy, x);
  }
  std::vector<kernels::Gemm> problems;
  for (size_t e = 0; e < moe.gate.size(); ++e) {
    const int64_t begin = moe.routing.first[e], rows = moe.routing.first[e + 1] - begin;
    for (const auto& [weights, dy] : lists) {
      const Tensor& weight = weights[e];
      if (!weight.needs_gradient()) continue;
      if (rows == 0) {
        weight.gradient_sum(ctx);
        continue;
      }
      const auto dw = weight.gradient_target(ctx);
      problems.push_back(
          weight_gradient_problem(dy + begin * weight.dim(0), x + begin * weight.cols(), rows, weight, dw));
    }
  }
  if (!ctx.dry_run()) kernels::gemm(ctx.pool, ctx.kernels, problems, precision(ctx));
}

// Every row gets the bias of its expert.
void add_biases(const Context& ctx, const Moe& moe, Tensors biases, float* rows) {
  if (biases.empty()) return;
  const int64_t width = biases.front().size();
  ctx.pool.parallel_for(static_cast<int64_t>(biases.size()), 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t e = begin; e < end; ++e) {
      const auto i = static_cast<size_t>(e);
      const float* bias = biases[i].f32();
      for (int64_t row = moe.routing.first[i]; row < moe.routing.first[i + 1]; ++row) {
        ctx.kernels.add(width, rows + row * width, bias, rows + row * width);
      }
    }
  });
}

// As for weights: experts without tokens get a gradient of zero.
void bias_gradients(const Context& ctx, const Moe& moe, Tensors biases, const float* drows) {
  if (biases.empty() || !biases.front().needs_gradient()) return;
  const int64_t width = biases.front().size();
  for (size_t e = 0; e < biases.size(); ++e) {
    float* db = biases[e].gradient_sum(ctx);
    if (ctx.dry_run() || moe.routing.counts[e] == 0) continue;
    kernels::sum_rows(ctx.pool, ctx.kernels, moe.routing.counts[e], width,
                      drows + moe.routing.first[e] * width, 0, db);
  }
}

void swiglu_all(const Context& ctx, const Moe& moe, const Tensor& g, const Tensor& u, float* h) {
  kernels::swiglu_forward(ctx.pool, ctx.kernels,
                          {.rows = moe.slots(),
                           .cols = moe.inner,
                           .gate = g.f32(),
                           .up = u.f32(),
                           .out = h,
                           .limit = moe.form.limit,
                           .alpha = moe.form.alpha});
}

// What a slot's own output adds to the gradient of its routing weight: <dout, W h> is found as <dout W, h>,
// here comes <dout, bias>. Then the rows of dout are weighed, as the bias's gradient wants them.
void down_bias_gradient(const Context& ctx, const Moe& moe, Tensor& dout, std::vector<float>& dweights) {
  if (moe.down_bias.empty()) return;
  if (!ctx.dry_run()) {
    const int64_t width = moe.width;
    ctx.pool.parallel_for(std::ssize(moe.down_bias), 1, [&](int64_t begin, int64_t end, int) {
      for (int64_t e = begin; e < end; ++e) {
        const auto i = static_cast<size_t>(e);
        const float* bias = moe.down_bias[i].f32();
        for (int64_t s = moe.routing.first[i]; s < moe.routing.first[i + 1]; ++s) {
          float* row = dout.f32() + s * width;
          const float weight = moe.routing.weight[static_cast<size_t>(s)];
          float sum = 0;
          for (int64_t c = 0; c < width; ++c) {
            sum += row[c] * bias[c];
            row[c] *= weight;
          }
          dweights[static_cast<size_t>(s)] += sum;
        }
      }
    });
  }
  bias_gradients(ctx, moe, moe.down_bias, dout.f32());
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
  grouped_weight_gradient(ctx, moe, h.f32(), {{moe.down, rows.f32()}});
  down_bias_gradient(ctx, moe, rows, dweights);
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
                              .dup = dup.f32(),
                              .limit = moe.form.limit,
                              .alpha = moe.form.alpha});
  }
  const Tensor& dgate = dh;
  grouped_weight_gradient(ctx, moe, rows.f32(), {{moe.gate, dgate.f32()}, {moe.up, dup.f32()}});
  bias_gradients(ctx, moe, moe.gate_bias, dgate.f32());
  bias_gradients(ctx, moe, moe.up_bias, dup.f32());
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
  if (moe.router_bias && moe.router_bias.needs_gradient()) {
    float* db = moe.router_bias.gradient_sum(ctx);
    if (!ctx.dry_run())
      kernels::sum_rows(ctx.pool, ctx.kernels, x.rows(), dlogits.cols(), dlogits.f32(), 0, db);
  }
  if (router.needs_gradient()) {
    const auto dw = router.gradient_target(ctx);
    const auto problem = weight_gradient_problem(dlogits.f32(), x.f32(), x.rows(), router, dw);
    if (!ctx.dry_run()) kernels::gemm(ctx.pool, ctx.kernels, {&problem, 1}, kernels::Precision::f32);
  }
  if (moe.scale && moe.scale.needs_gradient()) {
    float* dscale = moe.scale.gradient_sum(ctx);
    if (!ctx.dry_run()) expert_scale_backward(moe.routing, dweights, dscale);
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

// Routers are computed in f32 whatever else is.
void multiply_f32(const Context& ctx, const Tensor& x, const Tensor& weight, Tensor& y) {
  const WeightView view = view_weight(weight);
  if (!ctx.stream_weights) {
    const auto problem = forward_problem(x.f32(), x.rows(), weight, view, y.f32());
    return kernels::gemm(ctx.pool, ctx.kernels, {&problem, 1}, kernels::Precision::f32);
  }
  const kernels::LinearProblem problem{.rows = x.rows(),
                                       .in = x.cols(),
                                       .out = weight.dim(0),
                                       .x = x.f32(),
                                       .x_row = x.cols(),
                                       .w = view.data,
                                       .w_type = view.type,
                                       .w_row = x.cols(),
                                       .y = y.f32(),
                                       .y_row = y.cols()};
  kernels::linear(ctx.pool, ctx.kernels, {&problem, 1});
}

}  // namespace

Tensor moe_ffn(Context& ctx, const Tensor& x, const Tensor& router, const Tensor& bias,
               const Experts& experts, std::span<const int64_t> offsets, const RouterOptions& options,
               const Tensor& router_bias) {
  CHECK(static_cast<int64_t>(experts.gate.size()) == options.experts && router.dim(0) == options.experts);
  for (const Tensors biases : {experts.gate_bias, experts.up_bias, experts.down_bias}) {
    CHECK(biases.empty() || biases.size() == experts.gate.size());
  }
  for (const auto& list : {experts.gate, experts.up, experts.down}) {
    for (const Tensor& weight : list) {  // an adapter of one projection is there for all of its experts
      CHECK((weight.low_rank() == nullptr) == (list.front().low_rank() == nullptr));
      CHECK(weight.low_rank() == nullptr || (!weight.low_rank()->magnitude && !weight.low_rank()->dropout));
    }
  }
  const int64_t pairs = x.rows() * options.top_k;  // of a token and an expert
  const OpScope scope(ctx, "experts", 3 * product_flops(pairs, x.cols(), experts.gate.front().dim(0)),
                      bytes_of(experts.gate.front(), experts.up.front(), experts.down.front()) *
                          static_cast<double>(std::min(pairs, options.experts)));
  Moe moe{.gate = experts.gate,
          .up = experts.up,
          .down = experts.down,
          .scale = experts.scale,
          .gate_bias = experts.gate_bias,
          .up_bias = experts.up_bias,
          .down_bias = experts.down_bias,
          .router_bias = router_bias,
          .form = experts.form,
          .width = x.cols(),
          .inner = experts.gate.front().dim(0)};
  Tensor scores = Tensor::empty(ctx, {x.rows(), options.experts});
  if (!ctx.dry_run()) {
    multiply_f32(ctx, x, router, scores);
    if (router_bias) add_bias(ctx, scores, router_bias);
  }
  moe.routing = route(ctx, scores, bias, experts.scale, offsets, options);
  if (ctx.aux != nullptr) ctx.aux->add_counts(options.layer, moe.routing.counts);
  if (PartObserver* observer = part_observer(ctx))
    observer->routed(router, x, moe.routing.chosen, moe.routing.token_weight);

  const int64_t slots = moe.slots();
  Tensor g = Tensor::empty(ctx, {slots, moe.inner}), u = Tensor::empty(ctx, {slots, moe.inner});
  Tensor y = Tensor::empty(ctx, {x.rows(), moe.width});
  {
    Tensor h = Tensor::empty(ctx, {slots, moe.inner});
    Tensor rows = Tensor::empty(ctx, {slots, moe.width});
    if (!ctx.dry_run()) {
      ask_for(ctx, moe, {moe.gate, moe.up});
      gather(ctx, moe.routing, x.f32(), moe.width, rows.f32());
      grouped_forward(ctx, moe, rows.f32(), {{moe.gate, g.f32()}, {moe.up, u.f32()}}, Sensitivity::low);
      ask_for(ctx, moe, {moe.down});
      add_biases(ctx, moe, moe.gate_bias, g.f32());
      add_biases(ctx, moe, moe.up_bias, u.f32());
      swiglu_all(ctx, moe, g, u, h.f32());
      grouped_forward(ctx, moe, h.f32(), {{moe.down, rows.f32()}}, Sensitivity::medium);
      add_biases(ctx, moe, moe.down_bias, rows.f32());
      combine(ctx, moe.routing, rows.f32(), moe.width, y.f32());
    }
  }
  const auto first = [](Tensors s) { return s.empty() ? Tensor{} : s.front(); };
  const bool adapters = ctx.tape != nullptr &&
                        (trains_adapters(moe.gate) || trains_adapters(moe.up) || trains_adapters(moe.down));
  if (adapters ||
      recording(ctx, x, router, experts.gate.front(), experts.up.front(), experts.down.front(), experts.scale,
                router_bias, first(experts.gate_bias), first(experts.up_bias), first(experts.down_bias))) {
    y.require_gradient(false);
    moe.keep_tensors();
    ctx.tape->record(y, [moe = std::move(moe), x, router, g, u, y = y.gradient_handle()](const Context& c) {
      moe_backward(c, moe, x, router, g, u, y);
    });
  }
  return y;
}

}  // namespace frugal::ops
