// Drafts change how fast a reply comes, never what it is.
#include <gtest/gtest.h>

#include <cmath>

#include "core/error.h"
#include "infer/engine.h"
#include "models/golden.h"

namespace frugal {
namespace {

std::vector<int32_t> repeated(const std::vector<int32_t>& words, int64_t count) {
  std::vector<int32_t> out;
  for (int64_t i = 0; i < count; ++i) out.push_back(words[static_cast<size_t>(i) % words.size()]);
  return out;
}

TEST(LookupDrafter, CopiesWhatFollowedTheLongestMatch) {
  LookupDrafter drafter;
  const std::vector<int32_t> text{1, 2, 3, 4, 9, 2, 3, 7, 5, 1, 2, 3};
  EXPECT_EQ(drafter.propose(text, 3).tokens, (std::vector<int32_t>{4, 9, 2}));  // 1 2 3, not the later 2 3
  std::vector<int32_t> more = text;
  more.push_back(8);
  EXPECT_TRUE(drafter.propose(more, 3).tokens.empty());
  more.insert(more.end(), {2, 3});
  EXPECT_EQ(drafter.propose(more, 2).tokens, (std::vector<int32_t>{8, 2}));  // the last place of 2 3
  EXPECT_TRUE(drafter.propose(more, 0).tokens.empty());
}

TEST(LookupDrafter, GoesOnRepeatingBeyondTheText) {
  LookupDrafter drafter;
  EXPECT_EQ(drafter.propose(repeated({5, 6, 7}, 8), 7).tokens, (std::vector<int32_t>{7, 5, 6, 7, 5, 6, 7}));
  EXPECT_TRUE(LookupDrafter().propose(std::vector<int32_t>{1, 2}, 4).tokens.empty());
}

// A pass of r rows takes 1 + slope (r - 1); a drafted token is right with probability `right`.
DraftPolicy policy_with(double slope, double right) {
  constexpr int64_t kLongest = 8, kDrafts = 400;
  DraftPolicy policy(kLongest, {0.7});
  for (int i = 0; i < 9; ++i) {
    policy.saw_pass(1, 1);
    policy.saw_pass(4, 1 + 3 * slope);
  }
  for (int64_t i = 0; i < kDrafts; ++i) {
    const double uniform = std::fmod(static_cast<double>(i) * 0.6180339887, 1.0);
    const auto run = static_cast<int64_t>(std::log(1 - uniform) / std::log(right));
    for (int64_t position = 0; position < kLongest && position <= run; ++position)
      policy.saw_token(0, position, position < run);
  }
  return policy;
}

constexpr double kMuch = 100;  // plain passes that may be lost

TEST(DraftPolicy, DraftsOnlyWhereThatGains) {
  EXPECT_EQ(policy_with(0.01, 0.9).choose(0, 8, kMuch), 8);
  EXPECT_EQ(policy_with(1.0, 0.9).choose(0, 8, kMuch), 0);  // a row costs a pass
  EXPECT_EQ(policy_with(0.01, 0.001).choose(0, 8, kMuch), 0);
  const int64_t some = policy_with(0.15, 0.6).choose(0, 8, kMuch);
  EXPECT_GT(some, 0);
  EXPECT_LT(some, 5);
  EXPECT_EQ(policy_with(0.01, 0.9).choose(0, 3, kMuch), 3);
  EXPECT_EQ(DraftPolicy(8, {0.7}).choose(0, 8, kMuch), 0) << "nothing was timed yet";
}

TEST(DraftPolicy, NeverRisksMoreThanItMay) {
  const DraftPolicy policy = policy_with(0.1, 0.95);
  EXPECT_EQ(policy.choose(0, 8, kMuch), 8);
  EXPECT_EQ(policy.choose(0, 8, 0.35), 3);
  EXPECT_EQ(policy.choose(0, 8, 0.05), 0);
}

TEST(DraftPolicy, DoubtsWhatItHasNotSeen) {
  DraftPolicy policy = policy_with(0.3, 0.9);
  EXPECT_GT(policy.choose(0, 8, kMuch), 0);
  DraftPolicy young(8, {0.5});
  for (int i = 0; i < 3; ++i) young.saw_pass(1, 1);
  for (int i = 0; i < 9; ++i) young.saw_pass(2, 1.3);
  EXPECT_EQ(young.choose(0, 8, kMuch), 0);  // 1.5 tokens in 1.3 passes, but who knows
  for (int i = 0; i < 20; ++i) young.saw_token(0, 0, true);
  EXPECT_GT(young.choose(0, 8, kMuch), 0);
  for (int i = 0; i < 10; ++i) young.saw_token(0, 0, false);
  EXPECT_EQ(young.choose(0, 1, kMuch), 0) << "a few rejections are enough";
}

TEST(DraftPolicy, ForeseesTokensAndTimes) {
  const DraftPolicy policy = policy_with(0.1, 0.8);
  EXPECT_NEAR(policy.pass_cost(4), 1.3, 1e-9);
  EXPECT_NEAR(policy.pass_cost(9), 1.8, 1e-9);
  EXPECT_EQ(policy.plain_seconds(), 1);
  double expected = 1, all = 1;
  for (int i = 0; i < 4; ++i) expected += all *= 0.8;
  EXPECT_NEAR(policy.expected_tokens(0, 4), expected, 0.4);
}

TEST(DraftPolicy, KeepsTheCostOfRowsOverReplies) {
  DraftPolicy policy = policy_with(0.2, 0.8);
  policy.begin_reply();
  EXPECT_FALSE(policy.ready()) << "the next text may be longer";
  for (int i = 0; i < 3; ++i) policy.saw_pass(1, 2);
  EXPECT_EQ(policy.plain_seconds(), 2);
  EXPECT_NEAR(policy.pass_cost(4), 1.6, 1e-9);
}

// Replies on a clock that moves by what a pass of so many rows costs, in plain passes.
class Simulation {
 public:
  explicit Simulation(double slope) : slope_(slope) {}

  // Writes as many tokens as `truth` has.
  DraftStats reply(std::vector<int32_t> text, const std::vector<int32_t>& truth) {
    LookupDrafter drafter;
    Speculation speculation(drafter, policy_, {.kind = DraftKind::lookup}, [&] { return now_; });
    seconds = 0, right_all = 0, wrong = 0;
    for (size_t at = 0; at < truth.size();) {
      const auto draft = speculation.next(text, std::ssize(truth) - static_cast<int64_t>(at) - 1);
      speculation.pass_begins();
      const double cost = 1 + slope_ * static_cast<double>(draft.size());
      now_ += cost, seconds += cost;
      const size_t begin = at;
      size_t right = 0;
      while (right < draft.size() && draft[right] == truth[at]) text.push_back(truth[at++]), ++right;
      text.push_back(truth[at++]);
      right_all += static_cast<int64_t>(right);
      wrong += static_cast<int64_t>(draft.size() - right);
      speculation.pass_ended(static_cast<int64_t>(right), static_cast<int64_t>(at - begin));
    }
    return speculation.stats();
  }

  double seconds = 0;  // of the last reply
  int64_t right_all = 0, wrong = 0;

 private:
  double slope_, now_ = 0;
  DraftPolicy policy_{8, LookupDrafter().priors()};
};

TEST(Speculation, ReportsTheGainItForesaw) {
  Simulation simulation(0.05);
  const std::vector<int32_t> truth = repeated({1, 2, 3, 4, 5, 6, 7}, 2870);
  const DraftStats stats = simulation.reply(repeated({1, 2, 3, 4, 5, 6, 7}, 28), truth);
  EXPECT_EQ(stats.acceptance(), 1);
  EXPECT_NEAR(stats.speedup, 9 / 1.4, 0.4);
  EXPECT_NEAR(stats.speedup, static_cast<double>(truth.size()) / simulation.seconds, 1e-6);
  EXPECT_NEAR(stats.predicted_speedup, stats.speedup, 0.1 * stats.speedup);
}

// Short replies that repeat themselves now and then: after some of them what is foreseen is right in the
// mean.
TEST(Speculation, ForeseesShortReplies) {
  constexpr int kReplies = 16, kLearning = 4;
  Simulation simulation(0.08);
  uint64_t state = 1;
  double timed = 0, foreseen = 0;
  for (int reply = 0; reply < kReplies; ++reply) {
    std::vector<int32_t> text = repeated({1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}, 48), truth;
    for (int32_t i = 0; i < 60; ++i) {
      state = state * 6364136223846793005u + 1442695040888963407u;
      truth.push_back((state >> 60) == 0 ? 100 + i : 1 + i % 12);
    }
    const DraftStats stats = simulation.reply(text, truth);
    EXPECT_GT(stats.speedup, 1.2) << reply;
    if (reply < kLearning) continue;
    timed += stats.speedup;
    foreseen += stats.predicted_speedup;
  }
  EXPECT_NEAR(foreseen, timed, 0.1 * timed);
}

// Two words that occurred before, then one that never did: drafts of what followed are always wrong.
std::vector<int32_t> misleading(int64_t count, int32_t first) {
  std::vector<int32_t> out;
  for (int32_t i = 0; i < count; ++i) out.push_back(i % 3 == 0 ? 1 : i % 3 == 1 ? 2 : first + i);
  return out;
}

TEST(Speculation, LosesNextToNothing) {
  for (const double slope : {0.02, 0.2, 1.0}) {
    Simulation simulation(slope);
    for (const int64_t length : {20, 120, 1000}) {
      simulation.reply(misleading(60, 1000), misleading(length, 2000));
      EXPECT_LE(simulation.seconds, 1.01 * static_cast<double>(length) + 0.6) << slope << " " << length;
    }
  }
}

// What is never right is soon left alone, and taken up again when it would have been right.
TEST(Speculation, StopsWhatLosesAndResumesWhatGains) {
  Simulation simulation(0.2);
  std::vector<int32_t> truth = misleading(300, 1000);
  simulation.reply(repeated({1, 2, 3, 4, 5}, 30), truth);
  EXPECT_LT(simulation.wrong, 20);
  const auto words = repeated({21, 22, 23, 24, 25, 26, 27}, 400);
  truth.insert(truth.end(), words.begin(), words.end());
  simulation.reply(repeated({1, 2, 3, 4, 5}, 30), truth);
  EXPECT_GT(simulation.right_all, 300);
}

class DraftEngine : public testing::Test {
 protected:
  ThreadPool pool_{2};
  Context ctx_{pool_, kernels::best()};

  Generation reply(Model& model, const std::vector<int32_t>& prompt, double temperature,
                   const EngineOptions& options) {
    Engine engine(ctx_, model, options);
    return engine.generate(
        {.prompt = prompt, .max_tokens = 24, .sampling = {.temperature = temperature, .seed = 3}});
  }
};

TEST_F(DraftEngine, LookupRepliesAreThoseWithoutDrafts) {
  int64_t accepted = 0;
  for (const auto& entry : fs::directory_iterator(golden_path("models"))) {
    const std::string name = entry.path().filename();
    const auto model = golden_model(ctx_, name);
    for (const double temperature : {0.0, 0.7}) {
      for (const Format* format : {&formats::f32, &formats::bf16}) {
        const EngineOptions plain{.context = 64, .kv_format = format};
        EngineOptions drafts = plain;
        drafts.draft = {.kind = DraftKind::lookup, .longest = 5, .always = true};
        std::vector<int32_t> prompt;  // most tokens, so that most of a reply's occurred before
        for (int32_t id = 0; id < 40; ++id) prompt.push_back(id);
        const Generation expected = reply(*model, prompt, temperature, plain),
                         got = reply(*model, prompt, temperature, drafts);
        EXPECT_EQ(got.ids, expected.ids) << name << " at " << temperature << " in " << format->name;
        EXPECT_GT(got.draft.drafted, 0) << name;
        accepted += got.draft.accepted;
      }
    }
  }
  EXPECT_GT(accepted, 20);
}

TEST_F(DraftEngine, MtpRepliesAreThoseWithoutDrafts) {
  for (const char* name : {"mtp_d1", "mtp_d2"}) {
    const auto model = golden_model(ctx_, name);
    for (const int64_t longest : {1, 2, 5}) {
      for (const double temperature : {0.0, 0.7}) {
        const EngineOptions plain{.context = 42, .chunk = 7};
        EngineOptions drafts = plain;
        drafts.draft = {.kind = DraftKind::mtp, .longest = longest, .always = true};
        const auto prompt = repeated({3, 1, 4, 1, 5}, 18);
        const Generation got = reply(*model, prompt, temperature, drafts);
        EXPECT_EQ(got.ids, reply(*model, prompt, temperature, plain).ids) << name << " " << longest;
        EXPECT_GE(got.draft.drafted, 15);
      }
    }
  }
}

// What the modules say when they run over a whole text without a cache, each fed the drafts of those before.
std::vector<int32_t> whole_text_drafts(Context& ctx, Model& model, const Tensor& hidden,
                                       std::vector<int32_t> tokens) {
  std::vector<int32_t> drafts;
  Tensor previous = hidden;
  for (int depth = 1; depth <= model.shape().mtp_depth; ++depth) {
    tokens.erase(tokens.begin());
    if (depth > 1) tokens.push_back(drafts.back());
    const Hidden further = model.mtp(ctx, previous, Batch::single(tokens), depth);
    previous = further.before_norm;
    const std::vector<int64_t> last{further.normed.rows() - 1};
    drafts.push_back(most_likely(logits(ctx, model, further.normed, last).values()));
  }
  return drafts;
}

TEST_F(DraftEngine, MtpDraftsAreThoseOfTheWholeText) {
  for (const char* name : {"mtp_d1", "mtp_d2"}) {
    const auto model = golden_model(ctx_, name);
    const int64_t depth = model->shape().mtp_depth;
    const auto text = repeated({3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5}, 25);
    MtpDrafter drafter(ctx_, *model, 64, formats::f32);
    const Hidden all = model->forward(ctx_, Batch::single(text), nullptr);
    const auto rows = [&](const Tensor& t, size_t begin, size_t end) {
      std::vector<int64_t> wanted;
      for (size_t i = begin; i < end; ++i) wanted.push_back(static_cast<int64_t>(i));
      return ops::gather_rows(ctx_, t, wanted);
    };
    size_t known = 0;
    for (const size_t piece : {1, 6, 2, 8, 1}) {  // fewer than decide which hidden rows the modules take
      const size_t end = known + piece;
      const std::vector<int32_t> now(text.begin(), text.begin() + static_cast<ptrdiff_t>(end + 1));
      drafter.observe({rows(all.before_norm, known, end), rows(all.normed, known, end)}, now);
      known = end;
      const Draft draft = drafter.propose(now, depth);
      EXPECT_EQ(drafter.propose(now, depth).tokens, draft.tokens) << "asking changes nothing";
      EXPECT_EQ(draft.tokens, whole_text_drafts(ctx_, *model, rows(all.before_norm, 0, known), now))
          << name << " after " << known;
    }
  }
}

TEST_F(DraftEngine, ConversationsGoOnWithDrafts) {
  const auto model = golden_model(ctx_, "mtp_d2");
  EngineOptions options{.context = 96};
  Engine plain(ctx_, *model, options);
  options.draft = {.kind = DraftKind::mtp, .longest = 3, .always = true};
  Engine drafting(ctx_, *model, options);
  std::vector<int32_t> text = repeated({7, 8, 9}, 10);
  for (int turn = 0; turn < 3; ++turn) {
    const GenerationRequest request{.prompt = text, .max_tokens = 9, .sampling = {.temperature = 0}};
    const Generation got = drafting.generate(request);
    EXPECT_EQ(got.ids, plain.generate(request).ids);
    EXPECT_EQ(got.reused_tokens > 0, turn > 0);
    text.insert(text.end(), got.ids.begin(), got.ids.end());
    text.insert(text.end(), {1, 2, 3});
  }
}

TEST_F(DraftEngine, StopsInsideADraft) {
  const auto model = golden_model(ctx_, "llama_gqa");
  Engine engine(ctx_, *model, {.context = 64, .draft = {.kind = DraftKind::lookup, .always = true}});
  GenerationRequest request{
      .prompt = repeated({3, 1, 4}, 12), .max_tokens = 24, .sampling = {.temperature = 0}};
  const auto ids = engine.generate(request).ids;
  for (size_t at = 0; at < ids.size(); at += 5) {
    request.max_tokens = static_cast<int64_t>(at) + 1;
    EXPECT_EQ(engine.generate(request).ids.size(), at + 1);
    request.max_tokens = 24;
    request.stop_ids = {ids[at]};
    const auto first = std::ranges::find(ids, ids[at]);
    const Generation stopped = engine.generate(request);
    EXPECT_EQ(stopped.reason, FinishReason::stop);
    EXPECT_EQ(stopped.ids, std::vector<int32_t>(ids.begin(), first));
    request.stop_ids = {};
  }
}

TEST_F(DraftEngine, ImpossibleDraftsAreErrors) {
  const auto model = golden_model(ctx_, "llama_gqa");
  EXPECT_THROW(Engine(ctx_, *model, {.draft = {.kind = DraftKind::mtp}}), UsageError);
  EXPECT_THROW(Engine(ctx_, *model, {.draft = {.kind = DraftKind::lookup, .longest = 0}}), UsageError);
  EXPECT_THROW(parse_draft_kind("ngram"), UsageError);
}

}  // namespace
}  // namespace frugal
