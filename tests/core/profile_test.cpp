#include "core/profile.h"

#include <gtest/gtest.h>

#include <thread>

namespace frugal {
namespace {

void wait() {
  std::this_thread::sleep_for(std::chrono::milliseconds(2));
}

TEST(Profile, CountsTimeForTheInnermostOpOfThePhase) {
  ThreadPool pool(1);
  Profile profile(pool);
  profile.phase("first");
  for (int i = 0; i < 3; ++i) {
    ProfileScope outer(&profile, "outer");
    outer.work(10, 20);
    const ProfileScope inner(&profile, "inner");
    wait();
  }
  profile.phase("second");
  {
    const ProfileScope outer(&profile, "outer");
    wait();
  }
  profile.phase("nothing happens");
  const auto phases = profile.phases();
  ASSERT_EQ(phases.size(), 2u);
  EXPECT_EQ(phases[0].name, "first");
  ASSERT_EQ(phases[0].ops.size(), 2u);
  EXPECT_EQ(phases[0].ops[0].name, "inner");
  EXPECT_EQ(phases[0].ops[0].calls, 3);
  EXPECT_GE(phases[0].ops[0].seconds, 0.006);
  EXPECT_LT(phases[0].ops[1].seconds, phases[0].ops[0].seconds);
  EXPECT_EQ(phases[0].ops[1].flops, 30);
  EXPECT_EQ(phases[0].ops[1].bytes, 60);
  EXPECT_LE(phases[0].accounted(), phases[0].seconds);
  EXPECT_EQ(phases[1].ops.size(), 1u);
}

TEST(Profile, MeasuresThePoolOnlyWhileItLives) {
  ThreadPool pool(2);
  const auto work = [&] { pool.parallel_for(4, 1, [](int64_t, int64_t, int) { wait(); }); };
  work();
  {
    Profile profile(pool);
    {
      const ProfileScope scope(&profile, "op");
      work();
    }
    const auto phases = profile.phases();
    ASSERT_EQ(phases.size(), 1u);
    EXPECT_EQ(phases[0].pool.jobs, 1);
    EXPECT_GE(phases[0].pool.busy, 0.008);
    EXPECT_LE(phases[0].pool.busy, 2 * phases[0].pool.seconds);
  }
  work();
  EXPECT_EQ(pool.take_times().jobs, 0);
  const ProfileScope off(nullptr, "nothing");
}

}  // namespace
}  // namespace frugal
