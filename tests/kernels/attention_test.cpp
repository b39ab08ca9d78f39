// Forward attention against the naive formula, and the promise that a row's bits depend on nothing but its
// keys.
#include "kernels/attention.h"

#include "core/error.h"
#include "kernels/attention_case.h"
#include "kernels/for_each_table.h"

namespace frugal::kernels {
namespace {

struct Result {
  Floats out, lse;
};

// Which of the forms: keys as they lie; blocks of keys; the same with everything in bf16.
struct Way {
  const char* name;
  bool stream = false;
  Precision precision = Precision::f32;
};
constexpr Way kWays[] = {{"blocks"}, {"streamed", true}, {"bf16", false, Precision::bf16}};

Result forward(ThreadPool& pool, const Table& table, const AttentionArrays& a, const Attention& args) {
  Result r{Floats(index_of(a.rows * a.out_row), -7.0f), Floats(index_of(a.rows * a.shape.heads), -7.0f)};
  attention_forward(pool, table, args, r.out.data(), a.out_row, r.lse.data());
  return r;
}

// The columns that out's rows have beyond the heads must be left alone; takes them out of the comparison.
void expect_padding_untouched(Floats& out, const AttentionArrays& a) {
  for (int64_t row = 0; row < a.rows; ++row) {
    for (int64_t c = a.shape.heads * a.shape.v_dim; c < a.out_row; ++c) {
      EXPECT_EQ(out[index_of(row * a.out_row + c)], -7.0f);
      out[index_of(row * a.out_row + c)] = 0;
    }
  }
}

void expect_lse(const Floats& got, const Doubles& want) {
  for (size_t i = 0; i < want.size(); ++i) {
    if (std::isinf(want[i])) {
      EXPECT_EQ(double{got[i]}, want[i]);
    } else {
      EXPECT_NEAR(double{got[i]}, want[i], 1e-5) << i;
    }
  }
}

TEST(AttentionForward, MatchesTheFormula) {
  for (const AttentionCase& shape : attention_cases()) {
    SCOPED_TRACE(shape.name);
    const AttentionArrays a(shape);
    const AttentionReference want(a);
    for_each_table([&](const Table& table) {
      for (const bool stream : {false, true}) {
        const AttentionCall call(a, KvType::f32, table, stream);
        ThreadPool pool(2);
        Result got = forward(pool, table, a, call.args);
        expect_padding_untouched(got.out, a);
        expect_near(got.out, want.out, 5e-6, stream ? "streamed out" : "out");
        expect_lse(got.lse, want.lse);
      }
    });
  }
}

// The call in `type` against one in f32 whose keys and values are what that type stores: decoding is exact,
// so nothing may differ.
void expect_exact_decoding(const AttentionArrays& decoded, KvType type, const AttentionArrays& original) {
  for_each_table([&](const Table& table) {
    ThreadPool pool(1);
    for (const bool stream : {false, true}) {
      const AttentionCall packed(original, type, table, stream), full(decoded, KvType::f32, table, stream);
      const Result from_packed = forward(pool, table, decoded, packed.args),
                   from_full = forward(pool, table, decoded, full.args);
      EXPECT_TRUE(same_bits(from_packed.out, from_full.out)) << "stream " << stream;
      EXPECT_TRUE(same_bits(from_packed.lse, from_full.lse)) << "stream " << stream;
    }
  });
}

TEST(AttentionForward, ReadsKeysAndValuesInQ8) {
  int cases = 0;
  for (const AttentionCase& shape : attention_cases()) {
    if (!shape.blocks()) continue;
    ++cases;
    SCOPED_TRACE(shape.name);
    const AttentionArrays a(shape);
    AttentionArrays decoded = a;
    decoded.k = from_blocks(to_blocks(a.k));
    decoded.v = from_blocks(to_blocks(a.v));
    expect_near(decoded.k, Doubles(a.k.begin(), a.k.end()), 0.02, "k");
    expect_exact_decoding(decoded, KvType::q8_0, a);
  }
  EXPECT_EQ(cases, 3);
}

TEST(AttentionForward, ReadsKeysAndValuesInBf16) {
  for (const AttentionCase& shape : attention_cases()) {
    SCOPED_TRACE(shape.name);
    const AttentionArrays a(shape);
    AttentionArrays rounded = a;
    const AttentionCall halves(a, KvType::bf16, best());
    best().bf16_to_f32(static_cast<int64_t>(a.k.size()), halves.half_k.data(), rounded.k.data());
    best().bf16_to_f32(static_cast<int64_t>(a.v.size()), halves.half_v.data(), rounded.v.data());
    expect_exact_decoding(rounded, KvType::bf16, a);
  }
}

// What is left of the difference to the formula on rounded numbers is the rounding of the softmax's weights,
// each by 2^-9 of itself at most; their sum is that of the rounded ones.
TEST(AttentionForward, MultipliesInBf16) {
  for (const AttentionCase& shape : attention_cases()) {
    SCOPED_TRACE(shape.name);
    const AttentionArrays a(shape);
    const AttentionReference want(a.rounded());
    for_each_table([&](const Table& table) {
      AttentionCall call(a, KvType::bf16, table);
      call.args.precision = Precision::bf16;
      ThreadPool pool(2);
      Result got = forward(pool, table, a, call.args);
      expect_padding_untouched(got.out, a);
      expect_near(got.out, want.out, 2e-3, "out");
      for (size_t i = 0; i < want.lse.size(); ++i) {
        if (std::isinf(want.lse[i])) continue;
        EXPECT_NEAR(double{got.lse[i]}, want.lse[i], 2e-3) << i;
      }
      AttentionCall stored(a, KvType::f32, table);
      stored.args.precision = Precision::bf16;
      Result as_stored = forward(pool, table, a, stored.args);
      expect_padding_untouched(as_stored.out, a);
      EXPECT_TRUE(same_bits(as_stored.out, got.out)) << "keys and values rounded while they are packed";
      EXPECT_TRUE(same_bits(as_stored.lse, got.lse));
      AttentionCall plain(a, KvType::bf16, table);
      const Result exact = forward(pool, table, a, plain.args);
      if (a.rows > 1) {
        EXPECT_FALSE(same_bits(exact.lse, got.lse)) << "queries were not rounded";
      }
    });
  }
}

// Quantised keys are multiplied as they are.
TEST(AttentionForward, RoundsNothingThatIsStoredInQ8) {
  for (const AttentionCase& shape : attention_cases()) {
    if (!shape.blocks()) continue;
    const AttentionArrays a(shape);
    ThreadPool pool(1);
    AttentionCall call(a, KvType::q8_0, best());
    const Result want = forward(pool, best(), a, call.args);
    call.args.precision = Precision::bf16;
    const Result got = forward(pool, best(), a, call.args);
    EXPECT_TRUE(same_bits(got.out, want.out)) << shape.name;
  }
}

TEST(AttentionForward, ThreadsDoNotChangeBits) {
  for (const AttentionCase& shape : attention_cases()) {
    SCOPED_TRACE(shape.name);
    const AttentionArrays a(shape);
    for_each_table([&](const Table& table) {
      for (const Way& way : kWays) {
        SCOPED_TRACE(way.name);
        AttentionCall call(a, KvType::f32, table, way.stream);
        call.args.precision = way.precision;
        ThreadPool one(1);
        const Result want = forward(one, table, a, call.args);
        for (const int threads : {2, 3, 16}) {
          ThreadPool pool(threads);
          const Result got = forward(pool, table, a, call.args);
          EXPECT_TRUE(same_bits(got.out, want.out)) << threads << " threads";
          EXPECT_TRUE(same_bits(got.lse, want.lse)) << threads << " threads";
        }
      }
    });
  }
}

// Each query alone, as decode would see it, with only the keys that exist by then.
Result row_by_row(const Table& table, const AttentionArrays& a, const AttentionCall& call) {
  ThreadPool one(1), four(4);
  Result got{Floats(index_of(a.rows * a.out_row), -7.0f), Floats(index_of(a.rows * a.shape.heads), -7.0f)};
  for (const AttentionSpan& span : call.spans) {
    for (int64_t row = span.query_begin; row < span.query_end; ++row) {
      AttentionSpan alone = span;
      alone.query_begin = row;
      alone.query_end = row + 1;
      if (a.shape.causal) alone.keys = span.keys - (span.query_end - 1 - row);
      Attention args = call.args;
      args.spans = {&alone, 1};
      attention_forward(row % 2 ? one : four, table, args, got.out.data(), a.out_row, got.lse.data());
    }
  }
  return got;
}

TEST(AttentionForward, RowsDoNotChangeEachOthersBits) {
  for (const AttentionCase& shape : attention_cases()) {
    SCOPED_TRACE(shape.name);
    const AttentionArrays a(shape);
    for_each_table([&](const Table& table) {
      for (const Way& way : kWays) {
        SCOPED_TRACE(way.name);
        const bool rounded = way.precision == Precision::bf16;
        AttentionCall call(a, shape.blocks() && !rounded ? KvType::q8_0 : KvType::bf16, table, way.stream);
        call.args.precision = way.precision;
        ThreadPool pool(1);
        const Result want = forward(pool, table, a, call.args), got = row_by_row(table, a, call);
        EXPECT_TRUE(same_bits(got.out, want.out));
        EXPECT_TRUE(same_bits(got.lse, want.lse));
      }
    });
  }
}

TEST(AttentionForward, LargeScoresStayFinite) {
  AttentionArrays a({.name = "", .heads = 1, .kv_heads = 1, .qk_dim = 8, .v_dim = 8, .spans = {{300, 300}}});
  for (float& x : a.q) x *= 100.0f;
  const AttentionReference want(a);
  for_each_table([&](const Table& table) {
    for (const bool stream : {false, true}) {
      const AttentionCall call(a, KvType::f32, table, stream);
      ThreadPool pool(1);
      Result got = forward(pool, table, a, call.args);
      expect_padding_untouched(got.out, a);
      expect_near(got.out, want.out, 2e-4, "out");  // scores near 1000 hold 6e-5 in f32
    }
  });
}

TEST(AttentionForward, NotANumberStaysVisibleAndInItsRow) {
  AttentionArrays a({.name = "", .heads = 2, .kv_heads = 1, .qk_dim = 8, .v_dim = 8, .spans = {{20, 20}}});
  for (const float bad : {NAN, INFINITY}) {
    a.q[index_of(7 * a.q_row + 8)] = bad;  // row 7, head 1
    for_each_table([&](const Table& table) {
      for (const bool stream : {false, true}) {
        const AttentionCall call(a, KvType::f32, table, stream);
        ThreadPool pool(1);
        const Result got = forward(pool, table, a, call.args);
        for (int64_t row = 0; row < 20; ++row) {
          for (int64_t c = 0; c < 16; ++c) {
            EXPECT_EQ(std::isnan(got.out[index_of(row * a.out_row + c)]), row == 7 && c >= 8)
                << row << " " << c;
          }
        }
      }
    });
  }
}

TEST(AttentionForward, BrokenContractsAreRefused) {
  const AttentionArrays a(attention_cases()[1]);
  ThreadPool pool(1);
  const AttentionCall call(a, KvType::f32, best());
  Floats out(index_of(a.rows * a.out_row));
  const auto refused = [&](auto change) {
    Attention args = call.args;
    std::vector<AttentionSpan> spans = call.spans;
    args.spans = spans;
    change(args, spans);
    EXPECT_THROW(attention_forward(pool, best(), args, out.data(), a.out_row, nullptr), std::logic_error);
  };
  refused([](Attention& args, auto&) { args.kv_heads = 2; });
  refused([](Attention& args, auto&) { args.scale = 0; });
  refused([](Attention& args, auto&) { args.causal = false, args.window = 3; });
  refused([](Attention&, auto& spans) { spans[0].keys = 69; });
  refused([](Attention& args, auto&) { args.v_dim = 1000; });
  refused([](Attention& args, auto&) { args.kv_type = KvType::q8_0; });  // heads of 24 are no whole blocks
}

}  // namespace
}  // namespace frugal::kernels
