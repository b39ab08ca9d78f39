#include "tune/packing.h"

#include <map>

#include "core/rng.h"
#include "tune/losses.h"
#include "tune/tune_fixture.h"

namespace frugal {
namespace {

// Sequence i has tokens 10 i, 10 i + 1, ...; the second half is learnt.
std::vector<TokenSequence> some(int64_t count, int64_t longest) {
  std::vector<TokenSequence> all;
  Rng rng(3);
  for (int64_t i = 0; i < count; ++i) {
    const int64_t size = 2 + static_cast<int64_t>(rng.below(static_cast<uint64_t>(longest - 1)));
    std::vector<int32_t> ids;
    for (int64_t t = 0; t < size; ++t) ids.push_back(static_cast<int32_t>(100 * i + t));
    TokenSequence sequence;
    sequence.append({ids.data(), static_cast<size_t>(size / 2)}, false);
    sequence.append({ids.data() + size / 2, static_cast<size_t>(size - size / 2)}, true);
    all.push_back(sequence);
  }
  return all;
}

// Every sequence of the batch is one of `all`, whole and in its place; counts them.
void check_batch(const TrainBatch& batch, const std::vector<TokenSequence>& all, std::map<int32_t, int>& seen,
                 int64_t& padding) {
  ASSERT_EQ(batch.offsets.front(), 0);
  ASSERT_EQ(batch.offsets.back(), batch.rows * batch.length);
  for (size_t s = 0; s + 1 < batch.offsets.size(); ++s) {
    const auto begin = static_cast<size_t>(batch.offsets[s]), end = static_cast<size_t>(batch.offsets[s + 1]);
    ASSERT_LT(begin, end);
    ASSERT_EQ(begin / static_cast<size_t>(batch.length), (end - 1) / static_cast<size_t>(batch.length));
    if (batch.document[begin] == kPadding) {
      for (size_t i = begin; i < end; ++i) {
        ASSERT_EQ(batch.targets[i], -1);
        ASSERT_EQ(batch.document[i], kPadding);
      }
      padding += static_cast<int64_t>(end - begin);
      continue;
    }
    const int32_t which = batch.tokens[begin] / 100;
    const TokenSequence& sequence = all.at(static_cast<size_t>(which));
    ASSERT_EQ(sequence.tokens.size(), end - begin);
    for (size_t i = begin; i < end; ++i) {
      const size_t t = i - begin;
      ASSERT_EQ(batch.tokens[i], sequence.tokens[t]);
      ASSERT_EQ(batch.positions[i], static_cast<int32_t>(t));
      const bool learnt = t + 1 < sequence.tokens.size() && sequence.learnt[t + 1];
      ASSERT_EQ(batch.targets[i], learnt ? sequence.tokens[t + 1] : -1);
    }
    ++seen[which];
  }
}

TEST(Packing, EverySequenceComesWholeAndEquallyOften) {
  const auto all = some(150, 20);
  for (const bool pack : {true, false}) {
    PackedBatches batches(all, {.pack = pack, .seed = 4});
    std::map<int32_t, int> seen;
    int64_t padding = 0, places = 0;
    while (batches.epoch() < 4) {
      const TrainBatch batch = batches.next(3, 48);
      check_batch(batch, all, seen, padding);
      places += 3 * 48;
    }
    ASSERT_EQ(seen.size(), all.size());
    for (const auto& [which, times] : seen) EXPECT_NEAR(times, 4, 1) << which;
    if (pack) {
      EXPECT_LT(padding, places / 20);
    }
    EXPECT_EQ(batches.tokens_given() + padding, places);
  }
}

TEST(Packing, ASavedPositionGoesOnAlike) {
  const auto all = some(40, 20);
  for (const int before : {0, 1, 5, 17}) {
    PackedBatches one(all, {.seed = 9}), two(all, {.seed = 9});
    for (int i = 0; i < before; ++i) one.next(2, 32);
    two.restore(one.state(), "state");
    for (int i = 0; i < 20; ++i) ASSERT_EQ(one.next(2, 32), two.next(2, 32));
    EXPECT_EQ(one.epoch(), two.epoch());
  }
  PackedBatches batches(all, {.seed = 9}), other(some(41, 20), {.seed = 9}), seed(all, {.seed = 8});
  EXPECT_NE(error_of([&] { other.restore(batches.state(), "s"); }).find("other examples"), std::string::npos);
  EXPECT_NE(error_of([&] { seed.restore(batches.state(), "s"); }).find("another seed"), std::string::npos);
  Json damaged = batches.state();
  damaged["next"] = 4000;
  EXPECT_NE(error_of([&] { batches.restore(damaged, "s"); }).find("damaged"), std::string::npos);
  EXPECT_NE(error_of([&] { PackedBatches(some(3, 20), {}).next(1, 4); }).find("train.context = 4"),
            std::string::npos);
}

TEST(Packing, PaddingNeverReachesTheModel) {
  const auto all = some(10, 12);
  const auto batches = in_order(all, 2, 16);
  std::map<int32_t, int> seen;
  int64_t padding = 0, rows = 0, places = 0;
  for (TrainBatch batch : batches) {
    check_batch(batch, all, seen, padding);
    batch.extra.emplace_back(batch.tokens.begin(), batch.tokens.end());
    const TrainRows kept = without_padding(batch);
    ASSERT_EQ(kept.batch.tokens.size(), kept.targets.size());
    ASSERT_EQ(kept.batch.offsets.back(), kept.batch.rows());
    for (size_t i = 0; i < kept.targets.size(); ++i)
      EXPECT_EQ(kept.extra[0][i], static_cast<float>(kept.batch.tokens[i]));
    rows += kept.batch.rows();
    places += 32;
  }
  EXPECT_EQ(rows + padding, places);
  for (int32_t i = 0; i < 10; ++i) EXPECT_EQ(seen[i], 1);
}

}  // namespace
}  // namespace frugal
