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
  for (int i = 0; i < 5; ++i) {
    policy.saw_pass(1, 1);
    policy.saw_pass(4, 1 + 3 * slope);
  }
  for (int64_t i = 0; i < kDrafts; ++i) {
    const double uniform = std::fmod(static_cast<double>(i) * 0.6180339887, 1.0);
    policy.saw_draft(0, kLongest,
                     std::min(kLongest, static_cast<int64_t>(std::log(1 - uniform) / std::log(right))));
  }
  return policy;
}

TEST(DraftPolicy, DraftsOnlyWhereThatGains) {
  EXPECT_EQ(policy_with(0.01, 0.9).choose(0, 8), 8);
  EXPECT_EQ(policy_with(1.0, 0.9).choose(0, 8), 0);  // a row costs a pass
  EXPECT_EQ(policy_with(0.01, 0.001).choose(0, 8), 0);
  const int64_t some = policy_with(0.15, 0.5).choose(0, 8);
  EXPECT_GT(some, 0);
  EXPECT_LT(some, 5);
  EXPECT_EQ(policy_with(0.01, 0.9).choose(0, 3), 3);
  EXPECT_EQ(DraftPolicy(8, {0.7}).choose(0, 8), 0) << "nothing was timed yet";
}

TEST(DraftPolicy, ForeseesTokensAndTimes) {
  const DraftPolicy policy = policy_with(0.1, 0.8);
  EXPECT_NEAR(policy.pass_seconds(3), 1.2, 1e-9);
  EXPECT_NEAR(policy.pass_seconds(9), 1.8, 1e-9);
  double expected = 1, all = 1;
  for (int i = 0; i < 4; ++i) expected += all *= 0.8;
  EXPECT_NEAR(policy.expected_tokens(0, 4), expected, 0.25);
}

// A clock that moves by what a pass of so many rows costs.
TEST(Speculation, ReportsTheGainItForesaw) {
  LookupDrafter drafter;
  double now = 0;
  Speculation speculation(drafter, {.kind = DraftKind::lookup}, [&] { return now; });
  const std::vector<int32_t> truth = repeated({1, 2, 3, 4, 5, 6, 7}, 3000);
  std::vector<int32_t> text(truth.begin(), truth.begin() + 30);
  while (std::ssize(text) < 2900) {
    const auto draft = speculation.next(text, 100);
    speculation.pass_begins();
    now += 1 + 0.05 * static_cast<double>(draft.size());
    int64_t right = 0;
    while (right < std::ssize(draft) && draft[static_cast<size_t>(right)] == truth[text.size()]) {
      text.push_back(truth[text.size()]);
      ++right;
    }
    text.push_back(truth[text.size()]);
    speculation.pass_ended(right, right + 1);
  }
  const DraftStats stats = speculation.stats();
  EXPECT_EQ(stats.acceptance(), 1);
  EXPECT_NEAR(stats.speedup, 9 / 1.4, 0.1);
  EXPECT_NEAR(stats.predicted_speedup, stats.speedup, 0.1 * stats.speedup);
}

// What is never right is soon left alone, and taken up again when it would have been right.
TEST(Speculation, StopsWhatLosesAndResumesWhatGains) {
  LookupDrafter drafter;
  double now = 0;
  Speculation speculation(drafter, {.kind = DraftKind::lookup}, [&] { return now; });
  std::vector<int32_t> text = repeated({1, 2, 3, 4, 5}, 30);
  int64_t wrong = 0, right_all = 0;
  const auto pass = [&](auto&& truth) {
    const auto draft = speculation.next(text, 100);
    speculation.pass_begins();
    now += 1 + 0.2 * static_cast<double>(draft.size());
    int64_t right = 0;
    while (right < std::ssize(draft) && draft[static_cast<size_t>(right)] == truth()) {
      text.push_back(truth());
      ++right;
    }
    text.push_back(truth());
    speculation.pass_ended(right, right + 1);
    wrong += std::ssize(draft) - right;
    right_all += right;
  };
  int32_t fresh = 1000;
  for (int i = 0; i < 300; ++i) {  // two words that occurred before, then one that never did
    const auto truth = [&]() -> int32_t {
      const size_t phase = text.size() % 3;
      return phase == 0 ? 1 : phase == 1 ? 2 : fresh++;
    };
    pass(truth);
  }
  EXPECT_LT(wrong, 100);
  right_all = 0;
  const std::vector<int32_t> words = repeated({21, 22, 23, 24, 25, 26, 27}, 7);
  for (int i = 0; i < 400; ++i) pass([&] { return words[text.size() % words.size()]; });
  EXPECT_GT(right_all, 500);
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
