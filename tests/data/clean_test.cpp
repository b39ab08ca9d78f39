#include "data/clean.h"

#include "core/rng.h"
#include "data_test_util.h"

namespace frugal {
namespace {

std::vector<std::string> random_words(Rng& rng, size_t count) {
  std::vector<std::string> words;
  for (size_t i = 0; i < count; ++i) words.push_back("w" + std::to_string(rng.below(5000)));
  return words;
}
std::string join(const std::vector<std::string>& words) {
  std::string text;
  for (const auto& word : words) text += word + " ";
  return text;
}

TEST(HashSet, RemembersAndGrows) {
  HashSet set;
  EXPECT_FALSE(set.contains({}));
  EXPECT_TRUE(set.insert({}));  // the hash that is all zero is a hash like any other
  EXPECT_FALSE(set.insert({}));
  for (int i = 0; i < 20000; ++i) EXPECT_TRUE(set.insert(hash128(std::to_string(i))));
  for (int i = 0; i < 20000; ++i) EXPECT_FALSE(set.insert(hash128(std::to_string(i))));
  EXPECT_FALSE(set.contains(hash128("x")));
  EXPECT_EQ(set.size(), 20001u);
}

TEST(MinHash, EstimatesJaccardSimilarity) {
  Rng rng(3);
  for (const size_t changed : {0u, 5u, 20u, 60u, 300u}) {
    const auto a = random_words(rng, 600);
    auto b = a;
    for (size_t i = 0; i < changed; ++i)
      b[i] = "other" + std::to_string(rng.below(100000));        // a run at the start
    const double shared = 596.0 - static_cast<double>(changed);  // of 596 shingles each
    const double similarity = shared / (2 * 596.0 - shared);
    const Signature x = minhash(join(a)), y = minhash(join(b));
    int equal = 0;
    for (size_t i = 0; i < kMinHashes; ++i) equal += x[i] == y[i];
    EXPECT_NEAR(equal / 128.0, similarity, 0.14) << changed;
  }
  EXPECT_EQ(minhash("The cat, sat on THE mat today."), minhash("the cat sat on the mat today"));
  EXPECT_NE(minhash("one two"), minhash("one three"));
  EXPECT_EQ(minhash(""), minhash("..."));
}

TEST(NearDuplicates, FindsEditedCopiesAndKeepsTheRest) {
  Rng rng(9);
  NearDuplicates filter(0.8);
  std::vector<std::vector<std::string>> texts;
  for (int i = 0; i < 2000; ++i) {
    texts.push_back(random_words(rng, 100 + rng.below(200)));
    EXPECT_TRUE(filter.insert(minhash(join(texts.back()))));
  }
  int found = 0, wrong = 0;
  for (int i = 0; i < 500; ++i) {
    auto copy = texts[static_cast<size_t>(i)];
    copy[50] = "changed";  // 5 of 100 to 300 shingles
    found += !filter.insert(minhash(join(copy)));
    auto half = texts[static_cast<size_t>(i)];
    for (size_t k = 0; k < half.size() / 2; ++k) half[k] = "new" + std::to_string(rng.below(100000));
    wrong += !filter.insert(minhash(join(half)));  // similarity 1/3
  }
  EXPECT_GE(found, 480);
  EXPECT_EQ(wrong, 0);
  EXPECT_THROW(NearDuplicates(0.2), UsageError);
  EXPECT_THROW(NearDuplicates(1.2), UsageError);
}

}  // namespace
}  // namespace frugal
