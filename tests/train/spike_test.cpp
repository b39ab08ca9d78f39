#include "train/spike.h"

#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/rng.h"

namespace frugal {
namespace {

TEST(Spike, SeesSpikesAndNothingElse) {
  SpikeDetector detector(8);
  Rng rng(3);
  for (int step = 0; step < 500; ++step) {  // a falling, noisy loss
    const double loss = 3 + 5 * std::exp(-step / 50.0) + 0.1 * rng.normal();
    EXPECT_EQ(detector.examine(loss, 1), "") << step;
    detector.accept(loss);
  }
  EXPECT_EQ(detector.examine(3.45, 1), "");
  EXPECT_EQ(detector.examine(1.0, 1), "");  // good news is no spike
  EXPECT_NE(detector.examine(6.0, 1), "");
  EXPECT_NE(detector.examine(std::nan(""), 1), "");
  EXPECT_NE(detector.examine(3, INFINITY), "");
}

TEST(Spike, NonFiniteCountsFromTheFirstStep) {
  EXPECT_NE(SpikeDetector(8).examine(NAN, 1), "");
  EXPECT_EQ(SpikeDetector(8).examine(1e6, 1), "");  // nothing to compare with yet
}

TEST(Spike, StateIsComplete) {
  SpikeDetector a(8), b(8);
  for (int i = 0; i < 200; ++i) a.accept(2 + 0.01 * (i % 7));
  b.restore(a.save(), "state.json");
  EXPECT_EQ(a.examine(4, 1), b.examine(4, 1));
  EXPECT_THROW(b.restore(Json::object(), "state.json"), Error);
  EXPECT_THROW(b.restore(Json::array({"x"}), "state.json"), Error);
}

}  // namespace
}  // namespace frugal
