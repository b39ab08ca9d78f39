// Every op's backward against central differences, and the promises of the tape: recomputation, frozen
// weights, dry runs.
#include "autograd/ops.h"

#include <gtest/gtest.h>

#include <cmath>

#include "autograd/gradcheck.h"
#include "core/error.h"
#include "kernels/dispatch.h"
#include "tensor/low_rank.h"

namespace frugal {
namespace {

using Inputs = std::vector<Tensor>;

class Ops : public testing::Test {
 protected:
  ThreadPool pool{3};
  Context ctx{pool, kernels::best()};

  Tensor random(Shape shape, uint64_t seed, double std = 1, double mean = 0) {
    return random_tensor(ctx, std::move(shape), seed, std, mean);
  }
  void expect_good(const Inputs& inputs, const std::function<Inputs(Context&, const Inputs&)>& f,
                   double step = 1e-2) {
    for (const bool stream : {false, true}) {
      ctx.stream_weights = stream;
      const GradientCheck check = check_gradients(ctx, inputs, f, step);
      EXPECT_LT(check.worst, 5e-3) << check.where;
    }
  }
};

TEST_F(Ops, Linear) {
  expect_good({random({5, 7}, 1), random({3, 7}, 2), random({3}, 3)},
              [](Context& c, const Inputs& in) { return Inputs{ops::linear(c, in[0], in[1], in[2])}; });
}

// One backward for several products of an input, whichever of them are used.
TEST_F(Ops, LinearsOfOneInput) {
  const Tensor frozen = random({4, 7}, 4), none;
  for (const size_t unused : {0u, 1u, 2u}) {
    expect_good({random({5, 7}, 1), random({3, 7}, 2), random({3}, 3), random({2, 7}, 5)},
                [&](Context& c, const Inputs& in) {
                  std::vector<ops::LinearLayer> layers = {{&in[1], &in[2]}, {&in[3], &none}};
                  layers.insert(layers.begin() + static_cast<int64_t>(unused), {&frozen, &none});
                  Inputs outputs = ops::linears(c, in[0], layers);
                  outputs.erase(outputs.begin() + static_cast<int64_t>(unused));
                  return outputs;
                });
  }
}

TEST_F(Ops, LinearThroughAFrozenBf16Weight) {
  Tensor weight = Tensor::empty(ctx, {3, 8}, formats::bf16);
  const Tensor values = random({3, 8}, 2);
  formats::bf16.encode(values.f32(), weight.data(), 24);
  expect_good({random({5, 8}, 1)},
              [&](Context& c, const Inputs& in) { return Inputs{ops::linear(c, in[0], weight)}; });
}

TEST_F(Ops, Embedding) {
  const std::vector<int32_t> tokens = {3, 0, 3, 2};
  expect_good({random({4, 5}, 1)},
              [&](Context& c, const Inputs& in) { return Inputs{ops::embedding(c, tokens, in[0])}; });
}

TEST_F(Ops, AddRmsNormSwiglu) {
  expect_good({random({4, 6}, 1), random({4, 6}, 2)}, [](Context& c, const Inputs& in) {
    return Inputs{ops::add(c, in[0], ops::add(c, in[1], in[0]))};
  });
  expect_good({random({4, 6}, 1), random({6}, 2, 0.2, 1)},
              [](Context& c, const Inputs& in) { return Inputs{ops::rms_norm(c, in[0], in[1], 1e-5f)}; });
  expect_good({random({4, 6}, 1), random({4, 6}, 2)},
              [](Context& c, const Inputs& in) { return Inputs{ops::swiglu(c, in[0], in[1])}; });
}

TEST_F(Ops, LayerNormGeluAndGate) {
  expect_good({random({4, 6}, 1), random({6}, 2, 0.2, 1), random({6}, 3)}, [](Context& c, const Inputs& in) {
    return Inputs{ops::layer_norm(c, in[0], in[1], in[2], 1e-5f)};
  });
  for (const auto form : {ops::GeluForm::erf, ops::GeluForm::tanh}) {
    expect_good({random({4, 6}, 1)},
                [form](Context& c, const Inputs& in) { return Inputs{ops::gelu(c, in[0], form)}; });
  }
  expect_good({random({4, 6}, 1), random({4, 1}, 2)},
              [](Context& c, const Inputs& in) { return Inputs{ops::sigmoid_gate(c, in[0], in[1])}; });
}

TEST_F(Ops, LinearTransposed) {
  expect_good({random({5, 7}, 1), random({7, 3}, 2), random({3}, 3)}, [](Context& c, const Inputs& in) {
    return Inputs{ops::linear_transposed(c, in[0], in[1], in[2])};
  });
}

TEST_F(Ops, ColumnsAndRows) {
  const std::vector<int64_t> rows = {2, 0, 2};
  expect_good({random({3, 6}, 1), random({3, 2}, 2)}, [&](Context& c, const Inputs& in) {
    const Tensor a = ops::columns(c, in[0], 0, 4), b = ops::columns(c, in[0], 4, 6);
    return Inputs{ops::concat_columns(c, ops::concat_columns(c, b, in[1]), a),
                  ops::gather_rows(c, in[0], rows)};
  });
}

TEST_F(Ops, Rope) {
  Tensor table = Tensor::empty(ctx, {8, 2, 2});
  for (int p = 0; p < 8; ++p) {
    for (int i = 0; i < 2; ++i) {
      table.f32()[(p * 2 + i) * 2] = std::cos(0.3f * static_cast<float>(p + i));
      table.f32()[(p * 2 + i) * 2 + 1] = std::sin(0.3f * static_cast<float>(p + i));
    }
  }
  const std::vector<int32_t> positions = {0, 5, 7};
  for (const auto pairing : {ops::RopePairing::interleaved, ops::RopePairing::halves}) {
    expect_good({random({3, 12}, 1), random({12, 12}, 2)}, [&](Context& c, const Inputs& in) {
      const Tensor x = ops::linear(c, in[0], in[1]);
      return Inputs{ops::rope(c, x, table, positions, {2, 6, 2, 4, pairing})};
    });
  }
}

TEST_F(Ops, Attention) {
  const std::vector<int64_t> offsets = {0, 3, 7};
  const ops::AttentionOptions options{.heads = 4, .kv_heads = 2, .qk_dim = 3, .v_dim = 2, .scale = 0.5f};
  expect_good({random({7, 12}, 1), random({7, 6}, 2), random({7, 4}, 3)}, [&](Context& c, const Inputs& in) {
    return Inputs{ops::attention(c, in[0], in[1], in[2], offsets, options)};
  });
}

// Gradients of products in bf16 beside differences of what f32 computes: as near as rounding allows, no
// nearer.
TEST_F(Ops, AttentionInBf16) {
  const std::vector<int64_t> offsets = {0, 3, 7};
  const ops::AttentionOptions options{.heads = 4, .kv_heads = 2, .qk_dim = 3, .v_dim = 2, .scale = 0.5f};
  const GradientCheck check = check_gradients(
      ctx, {random({7, 12}, 1), random({7, 6}, 2), random({7, 4}, 3)}, [&](Context& c, const Inputs& in) {
        c.compute = c.tape != nullptr ? Compute::bf16 : Compute::exact;
        return Inputs{ops::attention(c, in[0], in[1], in[2], offsets, options)};
      });
  EXPECT_LT(check.worst, 2e-2) << check.where;
  EXPECT_GT(check.worst, 5e-4) << "nothing was rounded";
}

// Keys that other ops use too get the sum of both gradients.
TEST_F(Ops, AttentionAddsToGradientsThatAreThere) {
  const std::vector<int64_t> offsets = {0, 3, 7};
  const ops::AttentionOptions options{.heads = 4, .kv_heads = 2, .qk_dim = 3, .v_dim = 2, .scale = 0.5f};
  expect_good({random({7, 12}, 1), random({7, 6}, 2), random({7, 4}, 3)}, [&](Context& c, const Inputs& in) {
    const Tensor y = ops::attention(c, in[0], in[1], in[2], offsets, options);
    return Inputs{y, ops::add(c, in[1], in[1])};
  });
}

TEST_F(Ops, AttentionWithSinksAndAWindow) {
  const std::vector<int64_t> offsets = {0, 3, 9};
  const ops::AttentionOptions options{
      .heads = 4, .kv_heads = 2, .qk_dim = 3, .v_dim = 2, .scale = 0.5f, .window = 3};
  expect_good({random({9, 12}, 1), random({9, 6}, 2), random({9, 4}, 3), random({4}, 4)},
              [&](Context& c, const Inputs& in) {
                return Inputs{ops::attention(c, in[0], in[1], in[2], offsets, options, in[3])};
              });
}

TEST_F(Ops, MlaKeysValues) {
  const ops::MlaDims dims{.heads = 2, .nope = 3, .rope = 2, .v = 4, .rank = 5};
  expect_good({random({3, 14}, 1), random({3, 2}, 2)}, [&](Context& c, const Inputs& in) {
    const auto [keys, values] = ops::mla_keys_values(c, in[0], in[1], dims);
    return Inputs{keys, values};
  });
}

struct MoeCase {
  const char* name;
  ops::RouterOptions router;
};

class Moe : public Ops, public testing::WithParamInterface<MoeCase> {};

TEST_P(Moe, Gradients) {
  const ops::RouterOptions o = GetParam().router;
  const auto e = static_cast<size_t>(o.experts);
  Inputs inputs = {random({6, 4}, 1), random({o.experts, 4}, 2)};
  for (size_t i = 0; i < 3 * e; ++i) inputs.push_back(random(i < 2 * e ? Shape{3, 4} : Shape{4, 3}, 10 + i));
  const Tensor bias = random({o.experts}, 99, 0.3);
  const std::vector<int64_t> offsets = {0, 2, 6};
  // A step small enough that no choice of experts flips.
  expect_good(
      inputs,
      [&](Context& c, const Inputs& in) {
        const std::span<const Tensor> all(in);
        return Inputs{ops::moe_ffn(c, in[0], in[1], bias,
                                   {all.subspan(2, e), all.subspan(2 + e, e), all.subspan(2 + 2 * e)},
                                   offsets, o)};
      },
      2e-3);
}

INSTANTIATE_TEST_SUITE_P(
    Routers, Moe,
    testing::Values(MoeCase{"sigmoid", {.experts = 4, .top_k = 2, .scale = 2.5f}},
                    MoeCase{
                        "softmax",
                        {.experts = 4, .top_k = 2, .score = ops::RouterScore::softmax, .normalise = false}},
                    MoeCase{"groups", {.experts = 8, .top_k = 3, .groups = 4, .top_groups = 2}}),
    [](const auto& test) { return test.param.name; });

// Mixture of grouped experts: two of each of two groups, with learnt factors, gradients of the factors
// included.
TEST_F(Ops, GroupedExpertsGradients) {
  const ops::RouterOptions options{.experts = 6,
                                   .top_k = 4,
                                   .groups = 2,
                                   .score = ops::RouterScore::softmax,
                                   .normalise = false,
                                   .per_group = true};
  Inputs inputs = {random({5, 4}, 1), random({6, 4}, 2), random({1, 6}, 3)};
  for (uint64_t i = 0; i < 18; ++i) inputs.push_back(random(i < 12 ? Shape{3, 4} : Shape{4, 3}, 10 + i));
  const std::vector<int64_t> offsets = {0, 5};
  expect_good(
      inputs,
      [&](Context& c, const Inputs& in) {
        const std::span<const Tensor> all(in);
        return Inputs{ops::moe_ffn(
            c, in[0], in[1], {},
            {.gate = all.subspan(3, 6), .up = all.subspan(9, 6), .down = all.subspan(15, 6), .scale = in[2]},
            offsets, options)};
      },
      2e-3);
}

TEST_F(Ops, EveryGroupGivesItsBestExpert) {
  Aux aux;
  ctx.aux = &aux;
  // The same input in every row: scores rise with the expert's number, but for a tie between 0 and 1.
  const Tensor x = Tensor::from(ctx, {3, 1}, std::vector<float>{1, 1, 1});
  const Tensor router = Tensor::from(ctx, {6, 1}, std::vector<float>{0.5f, 0.5f, 0.2f, 1, 2, 3});
  Inputs matrices;
  for (uint64_t i = 0; i < 6; ++i) matrices.push_back(random({1, 1}, i));
  const std::vector<int64_t> offsets = {0, 3};
  const ops::RouterOptions options{
      .experts = 6, .top_k = 2, .groups = 2, .score = ops::RouterScore::softmax, .per_group = true};
  ops::moe_ffn(ctx, x, router, {}, {matrices, matrices, matrices}, offsets, options);
  EXPECT_EQ(aux.counts().at(0), (std::vector<int64_t>{3, 0, 0, 0, 0, 3}));
}

// gpt-oss: softmax over the chosen logits, biases everywhere, the clamped form.
TEST_F(Ops, MoeWithBiasesAndLimits) {
  constexpr size_t kExperts = 3;
  Inputs inputs = {random({6, 4}, 1), random({kExperts, 4}, 2), random({kExperts}, 3)};
  for (size_t i = 0; i < 3 * kExperts; ++i) {
    const bool down = i >= 2 * kExperts;
    inputs.push_back(random(down ? Shape{4, 5} : Shape{5, 4}, 10 + i));
  }
  for (size_t i = 0; i < 3 * kExperts; ++i) inputs.push_back(random({i < 2 * kExperts ? 5 : 4}, 30 + i));
  const std::vector<int64_t> offsets = {0, 6};
  const ops::RouterOptions options{.experts = kExperts, .top_k = 2, .score = ops::RouterScore::softmax};
  const auto op = [&](Context& c, const Inputs& in, float limit) {
    const std::span<const Tensor> all = std::span<const Tensor>(in).subspan(3);
    const auto part = [&](size_t i) { return all.subspan(i * kExperts, kExperts); };
    const ops::Experts experts{.gate = part(0),
                               .up = part(1),
                               .down = part(2),
                               .gate_bias = part(3),
                               .up_bias = part(4),
                               .down_bias = part(5),
                               .form = {limit, 1.702f}};
    return ops::moe_ffn(c, in[0], in[1], {}, experts, offsets, options, in[2]);
  };
  for (const float limit : {0.7f, 7.0f}) {
    expect_good(
        inputs, [&](Context& c, const Inputs& in) { return Inputs{op(c, in, limit)}; }, 3e-3);
  }
  // Against the definition, in doubles.
  const float limit = 0.7f;
  const Tensor y = op(ctx, inputs, limit);
  const auto product = [&](size_t weight, size_t bias, const std::vector<double>& x) {
    std::vector<double> out;
    const Tensor &w = inputs[weight], &b = inputs[bias];
    for (int64_t r = 0; r < w.rows(); ++r) {
      double sum = double{b.f32()[r]};
      for (int64_t c = 0; c < w.cols(); ++c)
        sum += double{w.f32()[r * w.cols() + c]} * x[static_cast<size_t>(c)];
      out.push_back(sum);
    }
    return out;
  };
  for (int64_t t = 0; t < 6; ++t) {
    const std::vector<double> x(inputs[0].f32() + t * 4, inputs[0].f32() + t * 4 + 4);
    const std::vector<double> scores = product(1, 2, x);
    const size_t worst = static_cast<size_t>(std::min_element(scores.begin(), scores.end()) - scores.begin());
    std::vector<double> wanted(4, 0.0);
    double total = 0;
    for (size_t e = 0; e < kExperts; ++e) {
      if (e == worst) continue;
      const std::vector<double> g = product(3 + e, 12 + e, x), u = product(6 + e, 15 + e, x);
      std::vector<double> h;
      for (size_t i = 0; i < g.size(); ++i) {
        const double gate = std::min(g[i], double{limit});
        const double up = std::clamp(u[i], -double{limit}, double{limit});
        h.push_back(gate / (1 + std::exp(-1.702 * gate)) * (up + 1));
      }
      const std::vector<double> out = product(9 + e, 18 + e, h);
      for (size_t c = 0; c < 4; ++c) wanted[c] += std::exp(scores[e]) * out[c];
      total += std::exp(scores[e]);
    }
    for (size_t c = 0; c < 4; ++c)
      EXPECT_NEAR(double{y.f32()[t * 4 + static_cast<int64_t>(c)]}, wanted[c] / total, 1e-5);
  }
}

TEST_F(Ops, RoutingBreaksTiesByTheLowestIndexAndCountsOnce) {
  Aux aux;
  ctx.aux = &aux;
  const Tensor x = random({5, 4}, 1), router = Tensor::zeros(ctx, {4, 4});
  Inputs gate, up, down;
  for (uint64_t i = 0; i < 4; ++i) {
    gate.push_back(random({3, 4}, i));
    up.push_back(random({3, 4}, 10 + i));
    down.push_back(random({4, 3}, 20 + i));
  }
  const std::vector<int64_t> offsets = {0, 5};
  const ops::RouterOptions options{.experts = 4, .top_k = 2, .layer = 7};
  ops::moe_ffn(ctx, x, router, {}, {gate, up, down}, offsets, options);
  EXPECT_EQ(aux.counts().at(7), (std::vector<int64_t>{5, 5, 0, 0}));
  // The bias chooses, but does not weigh: all scores are 0.5, so each chosen expert still gets half.
  Tensor bias = Tensor::from(ctx, {4}, std::vector<float>{0, 0, 9, 8});
  const Tensor y = ops::moe_ffn(ctx, x, router, bias, {gate, up, down}, offsets, options);
  EXPECT_EQ(aux.counts().at(7), (std::vector<int64_t>{5, 5, 5, 5}));
  const Tensor one =
      ops::linear(ctx, ops::swiglu(ctx, ops::linear(ctx, x, gate[2]), ops::linear(ctx, x, up[2])), down[2]);
  const Tensor two =
      ops::linear(ctx, ops::swiglu(ctx, ops::linear(ctx, x, gate[3]), ops::linear(ctx, x, up[3])), down[3]);
  for (int64_t i = 0; i < y.size(); ++i) EXPECT_NEAR(y.f32()[i], 0.5f * (one.f32()[i] + two.f32()[i]), 1e-5);
}

TEST_F(Ops, CrossEntropyGradientsAndIgnoredRows) {
  const Tensor hidden = random({5, 4}, 1), head = random({7, 4}, 2);
  const std::vector<int32_t> targets = {0, -1, 6, 3, -1};
  const auto loss = [&](const Tensor& h, const Tensor& w) {
    const auto r = ops::cross_entropy(ctx, h, w, targets, 1.0f);
    EXPECT_EQ(r.counted, 3);
    return r.loss_sum;
  };
  Tape tape;
  ctx.tape = &tape;
  Tensor h = Tensor::from(ctx, hidden.shape(), hidden.values()),
         w = Tensor::from(ctx, head.shape(), head.values());
  h.require_gradient(true);
  w.require_gradient(true);
  loss(h, w);
  tape.backward(ctx);
  ctx.tape = nullptr;
  for (const bool of_head : {false, true}) {
    const Tensor& leaf = of_head ? w : h;
    for (int64_t i = 0; i < leaf.size(); ++i) {
      double side[2];
      for (const int k : {0, 1}) {
        Tensor a = Tensor::from(ctx, hidden.shape(), hidden.values()),
               b = Tensor::from(ctx, head.shape(), head.values());
        (of_head ? b : a).f32()[i] += k == 0 ? 1e-2f : -1e-2f;
        side[k] = loss(a, b);
      }
      EXPECT_NEAR(leaf.gradient()[i], (side[0] - side[1]) / 2e-2, 2e-3);
    }
  }
}

TEST_F(Ops, TokenLogProbsGradientsThroughAnyLoss) {
  const std::vector<int32_t> targets = {0, -1, 6, 3, -1};
  for (const float temperature : {1.0f, 0.7f}) {
    expect_good({random({5, 4}, 1), random({7, 4}, 2)}, [&](Context& c, const Inputs& in) {
      return Inputs{ops::token_log_probs(c, in[0], in[1], targets, temperature)};
    });
  }
}

TEST_F(Ops, TokenLogProbsAgreeWithCrossEntropyOverManyChunks) {
  constexpr int64_t kRows = 70, kVocab = 40000;  // 52 rows of logits at a time
  const Tensor hidden = random({kRows, 8}, 1), head = random({kVocab, 8}, 2);
  std::vector<int32_t> targets;
  for (int32_t i = 0; i < kRows; ++i) targets.push_back(i % 9 == 4 ? -1 : i * 571);
  const auto gradients = [&](bool through_log_probs) {
    Tape tape;
    Context c = ctx;
    c.tape = &tape;
    c.stream_weights = false;
    Tensor h = hidden.detached(), w = head.detached();
    h.require_gradient(true);
    w.require_gradient(true);
    double loss = 0;
    if (through_log_probs) {
      const Tensor y = ops::token_log_probs(c, h, w, targets);
      for (size_t i = 0; i < targets.size(); ++i) {
        if (targets[i] < 0) {
          EXPECT_EQ(y.f32()[i], 0);
        }
        loss -= static_cast<double>(y.f32()[i]);
      }
      Tape::seed(c, y, std::vector<float>(targets.size(), -0.5f));
    } else {
      loss = ops::cross_entropy(c, h, w, targets, 0.5f).loss_sum;
    }
    tape.backward(c);
    std::vector<float> all(h.gradient_values().begin(), h.gradient_values().end());
    all.insert(all.end(), w.gradient_values().begin(), w.gradient_values().end());
    all.push_back(static_cast<float>(loss));
    return all;
  };
  const auto one = gradients(true), two = gradients(false);
  for (size_t i = 0; i < one.size(); ++i) ASSERT_NEAR(one[i], two[i], 1e-5 + 1e-5 * std::abs(two[i])) << i;
}

// What an adapter adds, against the same written with plain ops.
class LowRankOps : public Ops {
 protected:
  // Inputs: x, A, B, and for DoRA the magnitude.
  void check(bool transposed, bool dora, const Format& format, bool with_bias) {
    constexpr int64_t kIn = 32, kOut = 6, kRank = 3;
    const Tensor values = random(transposed ? Shape{kIn, kOut} : Shape{kOut, kIn}, 2);
    Tensor weight = values;
    if (&format != &formats::f32) {
      weight = Tensor::empty(ctx, values.shape(), format);
      format.encode(values.f32(), weight.data(), values.size());
    }
    const Tensor bias = with_bias ? random({kOut}, 5) : Tensor{};
    const auto product = [&](Context& c, const Inputs& in) {
      LowRank l{.a = in[1], .b = in[2], .scale = 0.5f, .transposed = transposed};
      if (dora) l.magnitude = in[3], l.base_squares = output_squares(c, weight, transposed);
      const Tensor adapted = weight.with_low_rank(std::make_shared<LowRank>(l));
      return transposed ? ops::linear_transposed(c, in[0], adapted, bias)
                        : ops::linear(c, in[0], adapted, bias);
    };
    Inputs inputs = {random({5, kIn}, 1), random({kRank, kIn}, 3, 0.3), random({kOut, kRank}, 4, 0.3)};
    if (dora) inputs.push_back(random({kOut}, 6, 0.2, 2));
    // The value is that of the effective matrix, decoded.
    LowRank l{.a = inputs[1], .b = inputs[2], .scale = 0.5f, .transposed = transposed};
    if (dora) l.magnitude = inputs[3], l.base_squares = output_squares(ctx, weight, transposed);
    const Tensor adapted = weight.with_low_rank(std::make_shared<LowRank>(l));
    const Tensor merged = Tensor::from(ctx, weight.shape(), adapted.decoded());
    const Tensor got = product(ctx, inputs),
                 expected = transposed ? ops::linear_transposed(ctx, inputs[0], merged, bias)
                                       : ops::linear(ctx, inputs[0], merged, bias);
    for (int64_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got.f32()[i], expected.f32()[i], 2e-5) << i;
    if (!dora) expect_good(inputs, [&](Context& c, const Inputs& in) { return Inputs{product(c, in)}; });
  }
};

TEST_F(LowRankOps, AddsToEveryFormatAndLayout) {
  for (const Format* format : {&formats::f32, &formats::bf16, &formats::q8_0, &formats::q4_0}) {
    check(false, false, *format, true);
    check(false, true, *format, true);
  }
  check(true, false, formats::f32, true);
  check(true, true, formats::f32, false);
}

// DoRA's norm is held constant in backward, so differences are taken with the norm of the unperturbed matrix.
TEST_F(LowRankOps, DoraGradientsHoldTheNorm) {
  constexpr int64_t kIn = 7, kOut = 4, kRank = 2;
  const Tensor weight = random({kOut, kIn}, 2), bias = random({kOut}, 5);
  Inputs in = {random({5, kIn}, 1), random({kRank, kIn}, 3, 0.3), random({kOut, kRank}, 4, 0.3),
               random({kOut}, 6, 0.2, 2)};
  const auto matrix = [&](const Tensor& a, const Tensor& b) {
    return weight.with_low_rank(std::make_shared<LowRank>(LowRank{.a = a, .b = b, .scale = 0.5f})).decoded();
  };
  std::vector<double> norms;
  const auto w0 = matrix(in[1], in[2]);
  for (int64_t o = 0; o < kOut; ++o) {
    double sum = 0;
    for (int64_t i = 0; i < kIn; ++i) sum += std::pow(w0[static_cast<size_t>(o * kIn + i)], 2);
    norms.push_back(std::sqrt(sum));
  }
  const Tensor seed = random({5, kOut}, 9);
  const auto loss = [&](const Inputs& at) {
    const auto w = matrix(at[1], at[2]);
    double sum = 0;
    for (int64_t r = 0; r < 5; ++r) {
      for (int64_t o = 0; o < kOut; ++o) {
        double y = 0;
        for (int64_t i = 0; i < kIn; ++i)
          y += static_cast<double>(at[0].f32()[r * kIn + i] * w[static_cast<size_t>(o * kIn + i)]);
        sum += static_cast<double>(seed.f32()[r * kOut + o]) * y * static_cast<double>(at[3].f32()[o]) /
               norms[static_cast<size_t>(o)];
      }
    }
    return sum;
  };
  Tape tape;
  Context c = ctx;
  c.tape = &tape;
  c.stream_weights = false;
  for (Tensor& t : in) t.require_gradient(true);
  LowRank l{.a = in[1], .b = in[2], .scale = 0.5f};
  l.magnitude = in[3];
  l.base_squares = output_squares(ctx, weight, false);
  const Tensor y = ops::linear(c, in[0], weight.with_low_rank(std::make_shared<LowRank>(l)), bias);
  Tape::seed(c, y, seed.values());
  tape.backward(c);
  for (size_t which = 0; which < in.size(); ++which) {
    for (int64_t i = 0; i < in[which].size(); ++i) {
      Inputs moved = in;
      double side[2];
      for (const int k : {0, 1}) {
        moved[which] = Tensor::from(ctx, in[which].shape(), in[which].values());
        moved[which].f32()[i] += k == 0 ? 1e-2f : -1e-2f;
        side[k] = loss(moved);
      }
      EXPECT_NEAR(in[which].gradient()[i], (side[0] - side[1]) / 2e-2, 3e-3) << which << " " << i;
    }
  }
}

TEST_F(LowRankOps, ExpertsHaveAdaptersToo) {
  constexpr int64_t kExperts = 3, kWidth = 6, kInner = 5, kRank = 2;
  const std::vector<int64_t> offsets = {0, 4, 7};
  const ops::RouterOptions options{.experts = kExperts, .top_k = 2};
  const Tensor router = random({kExperts, kWidth}, 90);
  Inputs base, inputs = {random({7, kWidth}, 1)};
  for (uint64_t e = 0; e < 3 * kExperts; ++e) {
    const bool down = e >= 2 * kExperts;
    const int64_t in = down ? kInner : kWidth, out = down ? kWidth : kInner;
    base.push_back(random({out, in}, 10 + e));
    inputs.push_back(random({kRank, in}, 30 + e, 0.5));
    inputs.push_back(random({out, kRank}, 50 + e, 0.5));
  }
  const auto run = [&](Context& c, const Inputs& in, bool merged) {
    Inputs weights;
    for (size_t e = 0; e < base.size(); ++e) {
      const LowRank l{.a = in[1 + 2 * e], .b = in[2 + 2 * e], .scale = 0.7f};
      const Tensor adapted = base[e].with_low_rank(std::make_shared<LowRank>(l));
      weights.push_back(merged ? Tensor::from(c, adapted.shape(), adapted.decoded()) : adapted);
    }
    const std::span<const Tensor> all = weights;
    return ops::moe_ffn(c, in[0], router, {}, {all.subspan(0, 3), all.subspan(3, 3), all.subspan(6, 3)},
                        offsets, options);
  };
  const Tensor one = run(ctx, inputs, false), two = run(ctx, inputs, true);
  for (int64_t i = 0; i < one.size(); ++i) EXPECT_NEAR(one.f32()[i], two.f32()[i], 1e-4) << i;
  expect_good(
      inputs, [&](Context& c, const Inputs& in) { return Inputs{run(c, in, false)}; }, 2e-3);
}

TEST_F(LowRankOps, DropoutIsAFunctionOfKeyAndPlace) {
  const auto dropout = std::make_shared<LowRankDropout>(LowRankDropout{0.25, 0});
  const Tensor weight = Tensor::zeros(ctx, {3, 64});
  const Inputs in = {random({40, 64}, 1), random({2, 64}, 3, 0.3), random({3, 2}, 4, 0.3)};
  const auto product = [&](Context& c, const Inputs& at) {
    const LowRank l{.a = at[1], .b = at[2], .stream = 5, .dropout = dropout};
    return Inputs{ops::linear(c, at[0], weight.with_low_rank(std::make_shared<LowRank>(l)))};
  };
  const Tensor plain = product(ctx, in)[0];
  dropout->key = 7;
  const Tensor one = product(ctx, in)[0], again = product(ctx, in)[0];
  dropout->key = 8;
  const Tensor other = product(ctx, in)[0];
  double difference = 0, apart = 0, mean = 0;
  for (int64_t i = 0; i < one.size(); ++i) {
    ASSERT_EQ(one.f32()[i], again.f32()[i]);
    difference += std::abs(one.f32()[i] - plain.f32()[i]);
    apart += std::abs(one.f32()[i] - other.f32()[i]);
    mean += one.f32()[i] - plain.f32()[i];
  }
  EXPECT_GT(difference, 1);
  EXPECT_GT(apart, 1);
  EXPECT_LT(std::abs(mean), difference / 2);  // unbiased
  expect_good({random({5, 64}, 1), in[1], in[2]}, product);
}

TEST_F(Ops, RecomputationGivesTheSameGradientsWithLessMemory) {
  const Tensor x0 = random({64, 32}, 1);
  const auto run = [&](bool recompute, std::vector<float>& dx, std::vector<float>& dw) {
    Tape tape;
    Context c = ctx;
    c.memory = Allocator::create();
    c.tape = &tape;
    Tensor x = Tensor::from(c, x0.shape(), x0.values()), w = random({32, 32}, 2, 0.05);
    x.require_gradient(true);
    w.require_gradient(true);
    const auto block = [w](Context& inner, const Tensor& in) {
      Tensor h = in;
      for (int i = 0; i < 4; ++i) {
        h = ops::add(inner, h, ops::swiglu(inner, ops::linear(inner, h, w), ops::linear(inner, h, w)));
      }
      return h;
    };
    Tensor h = x;
    for (int i = 0; i < 3; ++i) h = recompute ? recomputed(c, h, block) : block(c, h);
    Tape::seed(c, h, std::vector<float>(static_cast<size_t>(h.size()), 1.0f));
    tape.backward(c);
    dx.assign(x.gradient(), x.gradient() + x.size());
    dw.assign(w.gradient(), w.gradient() + w.size());
    return c.memory->peak();
  };
  std::vector<float> dx[2], dw[2];
  const size_t full = run(false, dx[0], dw[0]), saved = run(true, dx[1], dw[1]);
  EXPECT_EQ(dx[0], dx[1]);
  for (size_t i = 0; i < dw[0].size(); ++i) EXPECT_NEAR(dw[0][i], dw[1][i], 1e-5 * (1 + std::abs(dw[0][i])));
  EXPECT_LT(saved, full);
}

TEST_F(Ops, DryRunAllocatesWhatARealRunDoes) {
  const auto run = [&](bool dry) {
    Tape tape;
    Context c = ctx;
    c.memory = Allocator::create(dry);
    c.tape = &tape;
    Tensor x = Tensor::zeros(c, {128, 64}), w = Tensor::zeros(c, {64, 64}), norm = Tensor::zeros(c, {64});
    for (Tensor* t : {&x, &w, &norm}) t->require_gradient(true);
    const Tensor h = ops::linear(c, ops::rms_norm(c, x, norm, 1e-6f), w);
    ops::cross_entropy(c, h, w, std::vector<int32_t>(128, 3), 1.0f);
    tape.backward(c);
    return c.memory->peak();
  };
  EXPECT_EQ(run(true), run(false));
}

}  // namespace
}  // namespace frugal
