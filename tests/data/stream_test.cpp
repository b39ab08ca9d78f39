#include "data/stream.h"

#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "core/json.h"
#include "core/rng.h"
#include "data/windows.h"
#include "data_test_util.h"

namespace frugal {
namespace {

constexpr int32_t kBos = 0, kEos = 1;

// Every token of the corpus is unique: 10, 11, 12, ...; documents of 0 to `longest` tokens.
TokenSet unique_tokens(int64_t documents, uint64_t longest, int32_t first = 10, uint64_t seed = 1) {
  Rng rng(seed);
  std::vector<std::vector<int32_t>> ids;
  std::vector<int64_t> bytes;
  for (int64_t i = 0; i < documents; ++i) {
    auto& document = ids.emplace_back();
    for (uint64_t n = rng.below(longest + 1); n > 0; --n) document.push_back(first++);
    bytes.push_back(static_cast<int64_t>(document.size()) * 3);
  }
  return TokenSet::from_memory(ids, bytes);
}

StreamOptions options(int64_t length, uint64_t seed = 7) {
  return {.framing = {kBos, kEos}, .piece_length = length, .seed = seed, .key = "k"};
}

TEST(Permutation, VisitsEverythingOnceAndDependsOnSeedAndStream) {
  for (const uint64_t size : {1u, 2u, 3u, 5u, 64u, 65u, 1000u}) {
    const Permutation order(size, 3, 4);
    std::set<uint64_t> seen;
    for (uint64_t i = 0; i < size; ++i) seen.insert(order(i));
    EXPECT_EQ(seen.size(), size);
    EXPECT_LT(*seen.rbegin(), size);
  }
  int same = 0;
  for (uint64_t i = 0; i < 1000; ++i) same += Permutation(1000, 3, 4)(i) == Permutation(1000, 3, 5)(i);
  EXPECT_LT(same, 20);
}

// Counts targets over whole epochs: each token of the corpus exactly once per epoch, whatever the row length.
TEST(BatchStream, EveryTokenIsATargetOncePerEpoch) {
  const TokenSet set = unique_tokens(200, 90);
  const int64_t per_epoch = set.tokens() + set.documents();  // EOS too; BOS never
  for (const int64_t length : {7, 32, 100}) {
    BatchStream stream({{set}}, options(length));
    EXPECT_EQ(stream.targets_per_epoch(), per_epoch);
    std::map<int32_t, int> count;
    while (stream.targets_seen() < 3 * per_epoch) {
      const TrainBatch batch = stream.next(1, length);
      for (const int32_t target : batch.targets) {
        if (target >= 0) ++count[target];
      }
    }
    EXPECT_FALSE(count.contains(kBos));
    const auto overshoot =
        stream.targets_seen() - 3 * per_epoch;  // the last row reaches into the fourth epoch
    int64_t extra = count[kEos] - 3 * set.documents();
    EXPECT_GE(extra, 0);
    count.erase(kEos);
    EXPECT_EQ(static_cast<int64_t>(count.size()), set.tokens());
    for (const auto& [token, times] : count) {
      EXPECT_TRUE(times == 3 || times == 4) << token;
      extra += times - 3;
    }
    EXPECT_EQ(extra, overshoot);
    EXPECT_LT(overshoot, length);
  }
}

TEST(BatchStream, RowsAreMadeOfDocumentsInOrder) {
  BatchStream stream({{unique_tokens(300, 60)}}, options(48));
  for (int step = 0; step < 50; ++step) {
    const TrainBatch batch = stream.next(4, 48);
    ASSERT_EQ(batch.tokens.size(), 4u * 48u);
    for (size_t i = 0; i < batch.tokens.size(); ++i) {
      const bool last_of_row = i % 48 == 47;
      EXPECT_EQ(batch.positions[i], static_cast<int32_t>(i % 48));
      if (batch.targets[i] < 0) {  // only at the end of a piece
        EXPECT_TRUE(last_of_row || batch.document[i + 1] == batch.document[i] + 1);
      } else if (!last_of_row) {
        EXPECT_EQ(batch.targets[i], batch.tokens[i + 1]);
        EXPECT_EQ(batch.document[i + 1], batch.document[i]);
        EXPECT_TRUE(batch.tokens[i] < 10 || batch.targets[i] < 10 || batch.targets[i] == batch.tokens[i] + 1);
      }
    }
    EXPECT_EQ(batch.offsets, (std::vector<int64_t>{0, 48, 96, 144, 192}));
  }
}

TEST(BatchStream, DocumentMaskSplitsSequencesAndRestartsPositions) {
  auto masked = options(48);
  masked.document_mask = true;
  BatchStream stream({{unique_tokens(300, 30)}}, masked);
  const TrainBatch batch = stream.next(3, 48);
  EXPECT_GT(batch.offsets.size(), 4u);
  EXPECT_EQ(batch.offsets.front(), 0);
  EXPECT_EQ(batch.offsets.back(), 144);
  size_t sequence = 0;
  for (int64_t i = 0; i < 144; ++i) {
    if (i == batch.offsets[sequence + 1]) ++sequence;
    EXPECT_EQ(batch.positions[static_cast<size_t>(i)], i - batch.offsets[sequence]);
    const bool start =
        i % 48 == 0 || batch.document[static_cast<size_t>(i)] != batch.document[static_cast<size_t>(i) - 1];
    EXPECT_EQ(start, i == batch.offsets[sequence]);
  }
}

// Short documents stay whole where they can, so nearly all pieces begin with BOS, and little is lost to
// leads.
TEST(BatchStream, PackingKeepsShortDocumentsWhole) {
  const TokenSet set = unique_tokens(2000, 100);
  BatchStream stream({{set}}, options(128));
  int64_t pieces = 0, whole = 0;
  for (int step = 0; step < 100; ++step) {
    const TrainBatch batch = stream.next(4, 128);
    for (size_t i = 0; i < batch.tokens.size(); ++i) {
      if (i % 128 != 0 && batch.document[i] == batch.document[i - 1]) continue;
      ++pieces;
      whole += batch.tokens[i] == kBos;
    }
  }
  EXPECT_GT(static_cast<double>(whole) / static_cast<double>(pieces), 0.75);
}

TEST(BatchStream, ResumesBitIdenticallyAlsoWithOtherBatchSizes) {
  const TokenSet set = unique_tokens(500, 80);
  BatchStream first({{set, 1}, {unique_tokens(50, 300, 50000), 2}}, options(32));
  for (int i = 0; i < 13; ++i) first.next(4, 32);
  const Json saved = parse_json(to_text(first.state()), "state");
  const double epoch = first.epoch();
  std::vector<TrainBatch> expected;
  for (int i = 0; i < 300; ++i) expected.push_back(first.next(4, 32));  // several epochs of the second source

  BatchStream second({{set, 1}, {unique_tokens(50, 300, 50000), 2}}, options(32));
  second.next(2, 16);
  second.restore(saved, "state");
  EXPECT_EQ(second.epoch(), epoch);
  EXPECT_EQ(second.tokens_seen(), 13 * 4 * 32);
  for (const auto& batch : expected) EXPECT_EQ(second.next(4, 32), batch);
  EXPECT_EQ(first.state(), second.state());

  second.restore(saved, "state");
  for (const auto& batch : expected) {
    const TrainBatch one = second.next(1, 32), three = second.next(3, 32);
    std::vector<int32_t> tokens = one.tokens;
    tokens.insert(tokens.end(), three.tokens.begin(), three.tokens.end());
    EXPECT_EQ(tokens, batch.tokens);
  }
}

TEST(BatchStream, SeedsAndEpochsDiffer) {
  const TokenSet set = unique_tokens(500, 80);
  EXPECT_NE(BatchStream({{set}}, options(32, 1)).next(8, 32).tokens,
            BatchStream({{set}}, options(32, 2)).next(8, 32).tokens);
  BatchStream stream({{TokenSet::from_memory({{10}, {11}, {12}, {13}, {14}, {15}}, {1, 1, 1, 1, 1, 1})}},
                     options(2));
  std::set<std::vector<int32_t>> orders;
  for (int epoch = 0; epoch < 5; ++epoch) {
    std::vector<int32_t> order;
    for (int i = 0; i < 6; ++i) order.push_back(stream.next(1, 2).targets[0]);
    orders.insert(order);
  }
  EXPECT_GT(orders.size(), 1u);
}

TEST(BatchStream, WeightsAreKeptToTheRow) {
  BatchStream stream(
      {{unique_tokens(500, 80), 0.5}, {unique_tokens(20, 80, 90000), 3}, {unique_tokens(90, 9, 99000), 1.5}},
      options(16));
  for (int step = 1; step <= 100; ++step) {
    stream.next(3, 16);
    const auto tokens = stream.source_tokens();
    for (size_t i = 0; i < 3; ++i) {
      EXPECT_LE(std::abs(static_cast<double>(tokens[i]) - std::vector<double>{0.1, 0.6, 0.3}[i] * step * 48),
                2 * 16)
          << i;
    }
  }
}

TEST(BatchStream, BadInput) {
  const TokenSet set = unique_tokens(10, 20);
  EXPECT_CONTAINS(error_of([&] { BatchStream({{set}}, options(32)).next(100, 32); }),
                  "fewer than one batch of 100 rows");
  EXPECT_CONTAINS(error_of([&] { BatchStream({{set, 0.0}}, options(32)); }), "data.weights");
  EXPECT_CONTAINS(error_of([&] { BatchStream({{TokenSet()}}, options(32)); }), "no tokens");
  EXPECT_THROW(BatchStream({{set}}, options(0)), UsageError);
  BatchStream stream({{set}}, options(8));
  EXPECT_THROW(stream.next(0, 8), UsageError);
  stream.next(1, 8);
  const Json good = stream.state();
  stream.restore(good, "state");
  const auto broken = [&](const char* pointer, const Json& value) {
    Json state = good;
    state[Json::json_pointer(pointer)] = value;
    return error_of([&] { stream.restore(state, "run/state"); });
  };
  EXPECT_CONTAINS(broken("/data", "other"),
                  "run/state: the saved data position is for another training text");
  EXPECT_CONTAINS(broken("/seed", 8), "another seed (8, now 7)");
  EXPECT_CONTAINS(broken("/sources/0/next", 1000000), "beyond the data");
  EXPECT_CONTAINS(broken("/sources/0/waiting/0", Json::array({999, 1, 2})), "not there");
  EXPECT_CONTAINS(broken("/sources/0/waiting", "x"), "damaged");
  EXPECT_CONTAINS(broken("/sources", Json::array()), "damaged");
  EXPECT_CONTAINS(error_of([&] { stream.restore(Json(3), "s"); }), "damaged");
}

TEST(BatchStream, TokenizersWithoutBosOrEos) {
  const TokenSet set = unique_tokens(50, 20);
  auto no_bos = options(16);
  no_bos.framing = {-1, kEos};
  BatchStream a({{set}}, no_bos);
  EXPECT_EQ(a.targets_per_epoch(), set.tokens() + set.documents());
  EXPECT_EQ(a.next(1, 16).tokens[0], kEos);
  no_bos.framing = {-1, -1};
  BatchStream b({{set}}, no_bos);
  int64_t nonempty = 0;
  for (int64_t i = 0; i < set.documents(); ++i) nonempty += set.document_tokens(i) > 0;
  EXPECT_EQ(b.targets_per_epoch(), set.tokens() - nonempty);
  for (const int32_t token : b.next(4, 16).tokens) EXPECT_GE(token, 10);
}

TEST(ValidationWindows, EveryTokenOnceAndAllBytes) {
  const TokenSet set = unique_tokens(40, 50);
  for (const int64_t length : {1, 8, 33, 5000}) {
    for (const bool mask : {false, true}) {
      ValidationWindows windows(set, {.framing = {kBos, kEos}, .length = length, .document_mask = mask});
      EXPECT_EQ(windows.targets(), set.tokens() + set.documents());
      EXPECT_EQ(windows.text_bytes(), set.tokens() * 3);
      for (int pass = 0; pass < 2; ++pass) {
        std::map<int32_t, int> count;
        int64_t rows = 0;
        while (const auto batch = windows.next(3)) {
          rows += batch->rows;
          EXPECT_EQ(batch->offsets.back(), batch->rows * length);
          for (size_t i = 0; i < batch->targets.size(); ++i) {
            if (batch->targets[i] < 0) continue;
            ++count[batch->targets[i]];
            if ((i + 1) % static_cast<size_t>(length) != 0) {
              EXPECT_EQ(batch->tokens[i + 1], batch->targets[i]);
              EXPECT_EQ(batch->positions[i + 1], batch->positions[i] + 1);
            }
          }
        }
        EXPECT_EQ(rows, windows.windows());
        EXPECT_EQ(count[kEos], set.documents());
        EXPECT_EQ(static_cast<int64_t>(count.size()), set.tokens() + 1);
        windows.rewind();
      }
    }
  }
}

TEST(ValidationWindows, ASubsetIsSpreadAndCountsItsOwnBytes) {
  const TokenSet set = unique_tokens(400, 50);
  ValidationWindows windows(set, {.framing = {kBos, kEos}, .length = 16, .max_tokens = 1000});
  int64_t targets = 0;
  while (const auto batch = windows.next(4)) {
    for (const int32_t target : batch->targets) targets += target >= 0;
  }
  EXPECT_EQ(targets, windows.targets());
  EXPECT_LT(targets, 1300);
  EXPECT_GT(targets, 700);
  EXPECT_EQ(windows.text_bytes(), 3 * (targets - windows.documents()));
  EXPECT_CONTAINS(error_of([] {
                    ValidationWindows(TokenSet(), {.framing = {0, 1}, .length = 4});
                  }),
                  "no tokens");
}

}  // namespace
}  // namespace frugal
