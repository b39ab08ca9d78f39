#include "train/spike.h"

#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/rng.h"

namespace frugal {
namespace {

TEST(Spike, SeesSpikesAndNothingElse) {
  SpikeDetector detector(8, 8);
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
  EXPECT_NE(SpikeDetector(8, 8).examine(NAN, 1), "");
  EXPECT_EQ(SpikeDetector(8, 8).examine(1e6, 1), "");  // nothing to compare with yet
}

TEST(Spike, ALossThatOnlyClimbsIsNoticed) {
  SpikeDetector detector(1000, 6);  // no step stands out
  double loss = 6.1;
  std::string what;
  for (; loss < 20 && what.empty(); loss *= 1.02) {
    what = detector.examine(loss, 1);
    if (what.empty()) detector.accept(loss);
  }
  EXPECT_NE(what.find("diverges"), std::string::npos);
  EXPECT_NEAR(loss, 1.5 * 6.1, 0.5);
  SpikeDetector foreign(8, 6);  // a model given with another vocabulary may begin anywhere
  EXPECT_EQ(foreign.examine(25, 1), "");
  foreign.accept(25);
  EXPECT_EQ(foreign.examine(30, 1), "");
  EXPECT_NE(foreign.examine(40, 1), "");
}

TEST(Spike, StateIsComplete) {
  SpikeDetector a(8, 3), b(8, 3);
  for (int i = 0; i < 200; ++i) a.accept(2 + 0.01 * (i % 7));
  b.restore(a.save(), "state.json");
  EXPECT_EQ(a.examine(4, 1), b.examine(4, 1));
  EXPECT_NE(a.examine(5, 1).find("diverges"), std::string::npos);
  EXPECT_EQ(a.examine(5, 1), b.examine(5, 1));
  EXPECT_THROW(b.restore(Json::object(), "state.json"), Error);
  EXPECT_THROW(b.restore(Json::array({1.5}), "state.json"), Error);
  EXPECT_THROW(b.restore(Json{{"first", 2}, {"latest", {"x"}}}, "state.json"), Error);
}

}  // namespace
}  // namespace frugal
