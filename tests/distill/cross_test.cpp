// Learning from a teacher with another tokenizer.
#include "distill/cross.h"

#include <cmath>

#include "text/bpe_trainer.h"
#include "train/fixtures.h"

namespace frugal {
namespace {

TEST(ChunkLikelihoods, ZeroWhereEqualAndItsGradientIsItsSlope) {
  for (const double tau : {1.0, 100.0}) {
    EXPECT_NEAR(chunk_loss(-2, -2, tau).loss, 0, 1e-12);
    EXPECT_NEAR(chunk_loss(-2, -2, tau).gradient, 0, 1e-12);
    for (const auto& [teacher, student] : {std::pair{-0.5, -3.0}, {-7.0, -0.2}, {-30.0, -80.0}}) {
      const ChunkLoss loss = chunk_loss(teacher, student, tau);
      const double h = 1e-4;
      const double slope =
          (chunk_loss(teacher, student + h, tau).loss - chunk_loss(teacher, student - h, tau).loss) / (2 * h);
      EXPECT_GT(loss.loss, 0);
      EXPECT_NEAR(loss.gradient, slope, 1e-5 * std::abs(slope));
    }
  }
  // For large tau: t log(t / s) - t + s.
  EXPECT_NEAR(chunk_loss(-2, -5, 1e6).loss, 2 * std::log(0.4) - 2 + 5, 1e-4);
  for (const auto& [teacher, student] : {std::pair{0.0, 0.0}, {0.0, -1e9}, {-1e9, 0.0}, {-1e9, -1e9}}) {
    EXPECT_TRUE(std::isfinite(chunk_loss(teacher, student, 100).loss)) << teacher << ' ' << student;
    EXPECT_TRUE(std::isfinite(chunk_loss(teacher, student, 100).gradient)) << teacher << ' ' << student;
  }
}

// Sentences, one behind the other.
class Sentences : public BatchSource {
 public:
  explicit Sentences(const Tokenizer& tokenizer) : tokenizer_(tokenizer) {}
  TrainBatch next(int64_t rows, int64_t length) override {
    TrainBatch b{rows, length, {}, {}, {}, {}, {}, {}};
    for (int64_t r = 0; r < rows; ++r) {
      b.offsets.push_back(r * length);
      int32_t document = 0;
      for (int64_t i = 0; i < length; ++document, ++at_) {
        const std::vector<int32_t> ids = sentence();
        for (size_t k = 0; k + 1 < ids.size() && i < length; ++k, ++i) {
          b.tokens.push_back(ids[k]);
          b.targets.push_back(ids[k + 1]);
          b.positions.push_back(static_cast<int32_t>(i));
          b.document.push_back(document);
        }
      }
    }
    b.offsets.push_back(rows * length);
    return b;
  }
  Json state() const override { return at_; }
  void restore(const Json& state, const std::string&) override { at_ = state.get<int64_t>(); }

 private:
  std::vector<int32_t> sentence() const {
    static constexpr const char* kThings[] = {"boats", "gardens", "houses"};
    std::vector<int32_t> ids = {*tokenizer_.eos_id()};
    tokenizer_.encode(fmt::format("There were {} small {} on the sea.", at_ % 7, kThings[at_ % 3]), {}, ids);
    ids.push_back(*tokenizer_.eos_id());
    return ids;
  }
  const Tokenizer& tokenizer_;
  int64_t at_ = 0;
};

Tokenizer trained(int vocab) {
  ThreadPool pool(1);
  BpeTrainer trainer({.vocab_size = vocab}, pool);
  for (int i = 0; i < 20; ++i)
    trainer.add(fmt::format("There were {} small boats and gardens on the sea.", i));
  return trainer.train();
}

std::unique_ptr<Model> model_for(Context& ctx, const Tokenizer& tokenizer, uint64_t seed) {
  Json config = parse_json(kTinyLlama, "config");
  config["vocab_size"] = tokenizer.vocab_size() + 3;
  return tiny_model(ctx, to_text(config), seed);
}

// The teacher knows the text; a student with another tokenizer learns it from the teacher alone.
TEST(AcrossTokenizers, StudentsApproachTheirTeacher) {
  ThreadPool pool(2);
  Context ctx{pool, kernels::best()};
  const Tokenizer of_teacher = trained(303), of_student = trained(280);
  const auto teacher = model_for(ctx, of_teacher, 3);
  Sentences its_text(of_teacher);
  TrainOptions options = tiny_options();
  options.context = 32;
  Trainer(ctx, *teacher, its_text, options, {.steps = 60}, {}).run();
  const TokenAligner aligner(of_student, of_teacher, 64);
  for (const auto loss : {CrossOptions::Loss::uld, CrossOptions::Loss::alm}) {
    const auto student = model_for(ctx, of_student, 8);
    TeacherTally tally;
    const Objective objective = cross_objective(*teacher, aligner, {loss, {1, 0}, 1, 100}, tally);
    Sentences text(of_student);
    const TrainBatch probe = Sentences(of_student).next(4, 32);
    const auto measured = [&] {
      Context quiet = ctx;
      return objective(quiet, *student, probe, count_targets(probe, 0), 0).main;
    };
    const double before = measured(), nats = evaluate_rows(ctx, *student, probe).mean();
    EXPECT_GT(tally.met, tally.targets / 3);
    TrainerHooks hooks;
    hooks.objective = objective;
    Trainer(ctx, *student, text, options, {.steps = 40}, hooks).run();
    EXPECT_LT(measured(), 0.6 * before) << static_cast<int>(loss);
    // Likelihoods teach the words as well; ranks only how sure to be.
    if (loss == CrossOptions::Loss::alm) {
      EXPECT_LT(evaluate_rows(ctx, *student, probe).mean(), 0.7 * nats);
    }
  }
}

}  // namespace
}  // namespace frugal
