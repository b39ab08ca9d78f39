#include "distill/options.h"

#include <gtest/gtest.h>

#include "core/error.h"

namespace frugal {
namespace {

// GKD's divergence at its ends, as its users write them.
TEST(DistillOptions, JensenShannonEndsAsTheKlDivergences) {
  DistillOptions options;
  options.divergence = "jensen_shannon";
  EXPECT_EQ(options.divergence_options().kind, ops::Divergence::jensen_shannon);
  for (const auto& [beta, kind] :
       {std::pair{0.0, ops::Divergence::forward_kl}, {1.0, ops::Divergence::reverse_kl}}) {
    options.beta = beta;
    EXPECT_NO_THROW(check(options));
    EXPECT_EQ(options.divergence_options().kind, kind);
    EXPECT_GT(options.divergence_options().beta, 0);  // what the op asks for, though it does not count here
    EXPECT_LT(options.divergence_options().beta, 1);
  }
  options.divergence = "skew_forward_kl";
  EXPECT_THROW(check(options), UsageError);
}

TEST(DistillOptions, WhatNeedsTheTeacherBeside) {
  DistillOptions options;
  options.teacher = "t";
  options.lambda = 0.5;
  EXPECT_THROW(check(options), UsageError);
  options.how = "online";
  EXPECT_NO_THROW(check(options));
  options.divergence = "alm";
  EXPECT_TRUE(options.crosses());
  EXPECT_NO_THROW(check(options));
  EXPECT_EQ(options.cross_options().loss, CrossOptions::Loss::alm);
  options.how = "cache";
  options.lambda = 0;
  EXPECT_THROW(check(options), UsageError);
}

}  // namespace
}  // namespace frugal
