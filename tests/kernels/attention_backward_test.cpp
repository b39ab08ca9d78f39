// Backward attention against the naive formula, which is itself checked by finite differences in double.
#include "core/error.h"
#include "kernels/attention.h"
#include "kernels/attention_case.h"
#include "kernels/for_each_table.h"

namespace frugal::kernels {
namespace {

struct Gradients {
  Floats dq, dk, dv, dsinks;
};

// The gradients, added onto arrays that hold `before` everywhere.
Gradients backward(ThreadPool& pool, const Table& table, const AttentionArrays& a, float before,
                   Precision precision = Precision::f32, bool accumulate = true) {
  AttentionCall call(a, KvType::f32, table);
  call.args.precision = precision;
  Gradients g{Floats(a.q.size(), before), Floats(a.k.size(), before), Floats(a.v.size(), before),
              Floats(a.sinks.size(), before)};
  for (size_t i = 0; i < call.spans.size(); ++i) {
    call.spans[i].dk = g.dk.data() + a.first_key[i] * a.k_row;
    call.spans[i].dv = g.dv.data() + a.first_key[i] * a.v_row;
  }
  Floats out(index_of(a.rows * a.out_row)), lse(index_of(a.rows * a.shape.heads));
  attention_forward(pool, table, call.args, out.data(), a.out_row, lse.data());
  attention_backward(pool, table, call.args, out.data(), a.out_row, a.dout.data(), a.out_row, lse.data(),
                     g.dq.data(), a.q_row, g.dsinks.data(), accumulate);
  return g;
}

double loss(const AttentionArrays& a) {
  const AttentionReference r(a);
  double sum = 0;
  for (size_t i = 0; i < r.out.size(); ++i) sum += r.out[i] * double{a.dout[i]};
  return sum;
}

// Some elements of x moved by what f32 can represent, the loss in double.
void expect_slopes(AttentionArrays& a, Floats& x, const Doubles& want, const std::string& what) {
  for (size_t i = 0; i < x.size(); i += std::max<size_t>(1, x.size() / 40)) {
    const float kept = x[i], up = kept + 0x1p-10f, down = kept - 0x1p-10f;
    x[i] = up;
    const double above = loss(a);
    x[i] = down;
    const double below = loss(a);
    x[i] = kept;
    const double slope = (above - below) / (double{up} - double{down});
    EXPECT_NEAR(slope, want[i], 1e-5 * (1 + std::abs(want[i]))) << what << " " << i;
  }
}

TEST(AttentionBackward, TheFormulaAgreesWithFiniteDifferences) {
  for (const AttentionCase& shape : attention_cases()) {
    if (shape.values_are_keys) continue;
    SCOPED_TRACE(shape.name);
    AttentionArrays a(shape);
    if (a.keys * a.rows > 40000) continue;  // the other cases cover every option
    const AttentionReference want(a);
    expect_slopes(a, a.q, want.dq, "dq");
    expect_slopes(a, a.k, want.dk, "dk");
    expect_slopes(a, a.v, want.dv, "dv");
    if (shape.sinks) expect_slopes(a, a.sinks, want.dsinks, "dsinks");
  }
}

// The formula's gradients added onto arrays that hold 0.5.
AttentionReference reference(const AttentionArrays& a) {
  AttentionReference want(a);
  for (Doubles* array : {&want.dq, &want.dk, &want.dv, &want.dsinks}) {
    for (double& x : *array) x += 0.5;
  }
  return want;
}

void expect_gradients(const Gradients& got, const AttentionReference& want, double tolerance) {
  expect_near(got.dq, want.dq, tolerance, "dq");
  expect_near(got.dk, want.dk, tolerance, "dk");
  expect_near(got.dv, want.dv, tolerance, "dv");
  expect_near(got.dsinks, want.dsinks, tolerance, "dsinks");
}

TEST(AttentionBackward, MatchesTheFormula) {
  for (const AttentionCase& shape : attention_cases()) {
    SCOPED_TRACE(shape.name);
    const AttentionArrays a(shape);
    const AttentionReference want = reference(a);
    for_each_table([&](const Table& table) {
      ThreadPool pool(2);
      expect_gradients(backward(pool, table, a, 0.5f), want, 5e-6);
    });
  }
}

// Beside the formula on rounded numbers, what is left is the rounding of weights and of the scores'
// gradients, by 2^-9 of each at most, and of dout in what delta is made from.
TEST(AttentionBackward, MultipliesInBf16) {
  for (const AttentionCase& shape : attention_cases()) {
    SCOPED_TRACE(shape.name);
    const AttentionArrays a(shape);
    const AttentionReference want = reference(a.rounded());
    for_each_table([&](const Table& table) {
      ThreadPool pool(2);
      const Gradients got = backward(pool, table, a, 0.5f, Precision::bf16),
                      exact = backward(pool, table, a, 0.5f);
      expect_gradients(got, want, 1e-2);
      if (a.rows > 1 && a.keys > 1) {
        EXPECT_FALSE(same_bits(got.dq, exact.dq)) << "nothing was rounded";
      }
      EXPECT_FALSE(same_bits(got.dv, exact.dv)) << "nothing was rounded";
    });
  }
}

// What was there before does not matter, and what lies between the rows of heads is left alone.
TEST(AttentionBackward, OverwritesWhereNothingIsToBeAddedTo) {
  for (const AttentionCase& shape : attention_cases()) {
    SCOPED_TRACE(shape.name);
    const AttentionArrays a(shape);
    const auto expect_overwritten = [](const Floats& got, const Floats& added, int64_t row, int64_t width) {
      for (size_t i = 0; i < got.size(); ++i) {
        const bool inside = static_cast<int64_t>(i) % row < width;
        ASSERT_EQ(got[i], inside ? added[i] : 7.0f) << i;
      }
    };
    for_each_table([&](const Table& table) {
      for (const int threads : {1, 16}) {
        ThreadPool pool(threads);
        const Gradients added = backward(pool, table, a, 0.0f),
                        got = backward(pool, table, a, 7.0f, Precision::f32, false);
        expect_overwritten(got.dq, added.dq, a.q_row, shape.heads * shape.qk_dim);
        expect_overwritten(got.dk, added.dk, a.k_row, shape.kv_heads * shape.qk_dim);
        expect_overwritten(got.dv, added.dv, a.v_row, shape.kv_heads * shape.v_dim);
      }
    });
  }
}

TEST(AttentionBackward, ThreadsDoNotChangeBits) {
  for (const AttentionCase& shape : attention_cases()) {
    SCOPED_TRACE(shape.name);
    const AttentionArrays a(shape);
    for_each_table([&](const Table& table) {
      for (const auto& [precision, threads] : std::vector<std::pair<Precision, int>>{{Precision::f32, 2},
                                                                                     {Precision::f32, 3},
                                                                                     {Precision::f32, 16},
                                                                                     {Precision::bf16, 2},
                                                                                     {Precision::bf16, 16}}) {
        ThreadPool one(1), pool(threads);
        const Gradients want = backward(one, table, a, 0.0f, precision),
                        got = backward(pool, table, a, 0.0f, precision);
        EXPECT_TRUE(same_bits(got.dq, want.dq)) << threads << " threads";
        EXPECT_TRUE(same_bits(got.dk, want.dk)) << threads << " threads";
        EXPECT_TRUE(same_bits(got.dv, want.dv)) << threads << " threads";
        EXPECT_TRUE(same_bits(got.dsinks, want.dsinks)) << threads << " threads";
      }
    });
  }
}

TEST(AttentionBackward, BrokenContractsAreRefused) {
  const AttentionArrays a(attention_cases()[1]);
  ThreadPool pool(1);
  AttentionCall call(a, KvType::f32, best());
  Floats out(index_of(a.rows * a.out_row)), lse(index_of(a.rows * a.shape.heads)), dq(a.q.size());
  const auto run = [&](const Attention& args) {
    attention_backward(pool, best(), args, out.data(), a.out_row, a.dout.data(), a.out_row, lse.data(),
                       dq.data(), a.q_row, nullptr, true);
  };
  EXPECT_THROW(run(call.args), std::logic_error) << "spans without dk and dv";
  const AttentionCall half(a, KvType::bf16, best());
  EXPECT_THROW(run(half.args), std::logic_error) << "bf16 has no backward";
}

}  // namespace
}  // namespace frugal::kernels
