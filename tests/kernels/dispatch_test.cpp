#include "kernels/dispatch.h"

#include "core/error.h"
#include "kernels/for_each_table.h"

namespace frugal::kernels {
namespace {

TEST(Dispatch, ScalarIsAlwaysThereAndBestIsLast) {
  ASSERT_FALSE(available().empty());
  EXPECT_STREQ(available().front()->name, "scalar");
  EXPECT_EQ(&best(), available().back());
}

TEST(Dispatch, ForcingTakesEffect) {
  for (const Table* table : available()) EXPECT_EQ(&select(table->name), table);
  EXPECT_EQ(&select(""), &best());
}

TEST(Dispatch, UnknownNameListsTheKnownOnes) {
  EXPECT_EQ(find("avx3"), nullptr);
  try {
    select("avx3");
    FAIL() << "an unknown name must not be accepted";
  } catch (const UsageError& error) {
    EXPECT_NE(std::string(error.what()).find("avx3"), std::string::npos) << error.what();
    EXPECT_NE(std::string(error.what()).find("scalar"), std::string::npos) << error.what();
  }
}

TEST(Dispatch, LoopsOfTheMachineCountWhatTheyDo) {
  for_each_table([](const Table& table) {
    float sink = 0;
    EXPECT_EQ(table.fma_loop(10, &sink) % (10 * table.lanes * 2), 0);
    EXPECT_GT(sink, 0);
    for (const int64_t n : {0, 1, 7, 200, 1023}) {
      const std::vector<float> ones(static_cast<size_t>(n), 1.0f);
      EXPECT_EQ(table.read_loop(n, ones.data()), static_cast<float>(n));
    }
  });
}

}  // namespace
}  // namespace frugal::kernels
