#include "eval/loglikelihood.h"

#include "io/model_files.h"
#include "models/golden.h"

namespace frugal {
namespace {

class LoglikelihoodTest : public testing::Test {
 protected:
  ThreadPool pool_{2};
  Context ctx_{pool_, kernels::best()};
  std::unique_ptr<Model> model_ = load_model(ctx_, golden_path("models/v3_full"));

  // From all logits of the whole sequence, by the definition.
  double by_definition(std::vector<int32_t> ids, size_t context) {
    const Tensor all = logits(ctx_, *model_, model_->forward(ctx_, Batch::single(ids), nullptr).normed);
    double nats = 0;
    for (size_t t = context; t < ids.size(); ++t) {
      const float* row = all.f32() + static_cast<int64_t>(t - 1) * all.cols();
      double sum = 0;
      for (int64_t v = 0; v < all.cols(); ++v) sum += std::exp(static_cast<double>(row[v]));
      nats += static_cast<double>(row[ids[t]]) - std::log(sum);
    }
    return nats;
  }
  int32_t most_likely_after(const std::vector<int32_t>& ids) {
    const Tensor all = logits(ctx_, *model_, model_->forward(ctx_, Batch::single(ids), nullptr).normed);
    const float* row = all.f32() + (all.rows() - 1) * all.cols();
    return static_cast<int32_t>(std::max_element(row, row + all.cols()) - row);
  }
};

TEST_F(LoglikelihoodTest, IsTheSumOfLogProbabilities) {
  const std::vector<LoglikelihoodRequest> requests{
      {{1, 2, 3}, {4, 5}}, {{7}, {8}}, {{9, 9}, {1, 2, 3, 4}}, {{1, 2, 3}, {6}}};
  for (const int64_t rows : {1, 6, 1000}) {
    const auto results = loglikelihoods(ctx_, *model_, requests, rows);
    ASSERT_EQ(results.size(), requests.size());
    for (size_t i = 0; i < requests.size(); ++i) {
      std::vector<int32_t> ids = requests[i].context;
      ids.insert(ids.end(), requests[i].continuation.begin(), requests[i].continuation.end());
      EXPECT_NEAR(results[i].nats, by_definition(ids, requests[i].context.size()), 1e-4)
          << i << " rows " << rows;
    }
  }
}

TEST_F(LoglikelihoodTest, GreedyMeansTheModelWouldSayIt) {
  const std::vector<int32_t> context{1, 2, 3};
  const int32_t first = most_likely_after(context);
  const int32_t second = most_likely_after({1, 2, 3, first});
  const int32_t other = second == 0 ? 1 : 0;
  const auto results = loglikelihoods(
      ctx_, *model_,
      std::vector<LoglikelihoodRequest>{{context, {first, second}}, {context, {first, other}}});
  EXPECT_TRUE(results[0].greedy);
  EXPECT_FALSE(results[1].greedy);
}

TEST_F(LoglikelihoodTest, LongContextsLoseTheirBeginning) {
  std::vector<int32_t> context(200, 5);  // the model reaches 128
  for (int i = 0; i < 128; ++i) context[static_cast<size_t>(72 + i)] = i % 40;
  const std::vector<int32_t> end(context.end() - 127, context.end());
  const auto results =
      loglikelihoods(ctx_, *model_, std::vector<LoglikelihoodRequest>{{context, {3, 4}}, {end, {3, 4}}});
  EXPECT_EQ(results[0].nats, results[1].nats);
}

TEST_F(LoglikelihoodTest, BadRequestsAreErrors) {
  for (const LoglikelihoodRequest& bad : std::vector<LoglikelihoodRequest>{
           {{}, {1}}, {{1}, {}}, {{50}, {1}}, {{1}, {-1}}, {{1}, std::vector<int32_t>(129, 1)}}) {
    EXPECT_THROW(loglikelihoods(ctx_, *model_, {&bad, 1}), Error);
  }
  EXPECT_TRUE(loglikelihoods(ctx_, *model_, {}).empty());
}

}  // namespace
}  // namespace frugal
