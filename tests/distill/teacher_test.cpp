// A teacher's cache: made, gone on with, read back, refused; students that learn from it and beside it.
#include "distill/teacher.h"

#include <gtest/gtest.h>

#include <fstream>

#include "core/files.h"
#include "train/fixtures.h"
#include "train/preflight.h"

namespace frugal {
namespace {

CacheIdentity identity(CacheKind kind = CacheKind::sampled) {
  CacheIdentity out;
  out.data = "d";
  out.tokenizer = "t";
  out.teacher = "w";
  out.kind = std::string(to_string(kind));
  out.vocab_size = 48;
  out.context = 24;
  out.draws = 30;
  out.top_k = 10;
  out.seed = 5;
  return out;
}

class TeacherCache : public testing::Test {
 protected:
  ThreadPool pool{2};
  Context ctx{pool, kernels::best()};
  RunDirectory directory;
  std::unique_ptr<Model> teacher = tiny_model(ctx, kTinyLlama, 3);
  fs::path folder = directory.path() / "cache";

  void fill(int64_t rows, int64_t stop_at = 1 << 30, const CacheIdentity& of = identity(),
            int64_t at_once = 3) {
    TinyData data;
    CacheWriter writer(folder, of, 4);
    const bool whole = fill_cache(ctx, *teacher, data, writer, of, rows, at_once,
                                  [&](int64_t done) { return done < stop_at; });
    if (whole) writer.finish({{"teacher", "tiny"}});
  }
  std::string message(const std::function<void()>& f) {
    try {
      f();
    } catch (const Error& error) {
      return error.what();
    }
    return "no error";
  }
};

TEST_F(TeacherCache, HoldsTheTeachersDistributionsRowByRow) {
  fill(10);
  CacheReader reader(folder);
  ASSERT_EQ(reader.rows(), 10);
  EXPECT_EQ(reader.facts(), R"({"teacher":"tiny"})");
  TinyData data;
  TrainBatch batch = data.next(10, 24);
  const TeacherRows said = reader.read(0, batch);
  ASSERT_EQ(said.offsets.size(), 241u);
  for (size_t i = 0; i < 240; ++i) {
    double sum = 0;
    for (auto k = said.offsets[i]; k < said.offsets[i + 1]; ++k)
      sum += static_cast<double>(said.weights[static_cast<size_t>(k)]);
    EXPECT_NEAR(sum, batch.targets[i] < 0 ? 0 : 1, 1e-5);
  }
  const TrainBatch middle = slice_rows(batch, 3, 6);  // across the border of two shards
  const TeacherRows part = reader.read(3, middle);
  const auto begin = static_cast<size_t>(said.offsets[72]);
  EXPECT_TRUE(std::equal(part.ids.begin(), part.ids.end(), said.ids.begin() + static_cast<ptrdiff_t>(begin)));
}

TEST_F(TeacherCache, StoppedAndGoneOnWithGivesTheSameBytesWhateverTheThreads) {
  fill(10);
  const auto bytes = [&](const fs::path& of) {
    std::string all;
    for (const char* name : {"rows-000000000000-000000000003.zst", "rows-000000000004-000000000007.zst",
                             "rows-000000000008-000000000009.zst"}) {
      all += read_file(of / name);
    }
    return all;
  };
  const std::string whole = bytes(folder);
  folder = directory.path() / "again";
  fill(10, 6, identity(), 2);
  EXPECT_FALSE(fs::exists(folder / "rows-000000000004-000000000007.zst"));
  ThreadPool one(1);
  Context alone{one, kernels::best()};
  TinyData data;
  CacheWriter writer(folder, identity(), 4);
  EXPECT_EQ(writer.rows(), 4);
  fill_cache(alone, *teacher, data, writer, identity(), 10, 5);
  writer.finish(Json::object());
  EXPECT_EQ(bytes(folder), whole);
}

TEST_F(TeacherCache, WhatDoesNotFitIsRefused) {
  fill(8);
  CacheIdentity other = identity();
  other.tokenizer = "another";
  EXPECT_NE(message([&] { CacheReader(folder).require(other); }).find("another tokenizer"),
            std::string::npos);
  EXPECT_NE(message([&] { CacheWriter(folder, other); }).find("another tokenizer"), std::string::npos);
  TinyData data;
  data.next(1, 24);
  const TrainBatch shifted = data.next(2, 24);
  CacheReader reader(folder);
  EXPECT_NE(message([&] { reader.read(0, shifted); }).find("row 0"), std::string::npos);
  EXPECT_NE(message([&] { CacheReader(directory.path() / "nowhere"); }).find("not a teacher's cache"),
            std::string::npos);
}

TEST_F(TeacherCache, DamagedShardsAreNamed) {
  fill(8);
  const fs::path shard = folder / "rows-000000000004-000000000007.zst";
  const std::string whole = read_file(shard);
  TinyData data;
  const TrainBatch batch = data.next(8, 24);
  for (const size_t size : {size_t{0}, size_t{3}, whole.size() / 2, whole.size() - 1}) {
    std::ofstream(shard, std::ios::binary) << whole.substr(0, size);
    CacheReader reader(folder);
    EXPECT_NE(message([&] { reader.read(0, batch); }).find("rows-000000000004"), std::string::npos) << size;
  }
  std::string flipped = whole;
  flipped[whole.size() / 2] ^= 1;
  std::ofstream(shard, std::ios::binary) << flipped;
  CacheReader reader(folder);
  EXPECT_NE(message([&] { reader.read(0, batch); }).find("damaged"), std::string::npos);
  fs::remove(folder / "rows-000000000000-000000000003.zst");
  EXPECT_NE(message([&] { CacheReader again(folder); }).find("rows 0 to 3 are missing"), std::string::npos);
}

TEST_F(TeacherCache, RowsComeAgainInTheSameOrderAndPositionsAreKept) {
  TinyData data;
  CachedRows rows(data, 7);
  std::vector<TrainBatch> seen;
  for (int i = 0; i < 4; ++i) seen.push_back(rows.next(3, 24));
  EXPECT_EQ(seen[0], seen[2]);  // the seventh row is left out
  EXPECT_EQ(seen[1].first, 3);
  TinyData other;
  CachedRows resumed(other, 7);
  resumed.next(3, 24);
  const Json state = resumed.state();
  TinyData third;
  CachedRows restored(third, 7);
  restored.restore(state, "here");
  EXPECT_EQ(restored.next(3, 24), seen[1]);
  EXPECT_NE(message([&] { restored.restore(Json::object(), "state.json"); }).find("state.json"),
            std::string::npos);
  EXPECT_NE(message([&] { rows.next(8, 24); }).find("less than one batch"), std::string::npos);
}

// How far a student is from its teacher, in nats a token.
double distance(Context& ctx, Model& student, Model& teacher) {
  TinyData data;
  data.next(200, 24);
  const TrainBatch batch = data.next(4, 24);
  Context quiet = ctx;
  quiet.tape = nullptr;
  const auto hidden = [&](Model& m) { return m.forward(quiet, to_batch(batch), nullptr).normed; };
  const auto result = ops::divergence(quiet, hidden(student), student.head(), hidden(teacher), teacher.head(),
                                      batch.targets, {}, 1);
  return result.loss_sum / static_cast<double>(result.counted);
}

TEST_F(TeacherCache, StudentsApproachTheirTeacher) {
  for (const CacheKind kind : {CacheKind::sampled, CacheKind::top_k}) {
    folder = directory.path() / std::string(to_string(kind));
    fill(64, 1 << 30, identity(kind), 16);
    CacheReader cache(folder);
    auto student = tiny_model(ctx, kTinyV3, 8);
    const double before = distance(ctx, *student, *teacher);
    TinyData data;
    CachedRows rows(data, cache.rows());
    TrainerHooks hooks;
    hooks.objective = cached_objective(cache, {1, 0});
    TrainOptions options = tiny_options();
    options.batch = 8;
    Trainer(ctx, *student, rows, options, {.steps = 60}, hooks).run();
    EXPECT_LT(distance(ctx, *student, *teacher), 0.6 * before) << to_string(kind);
  }
}

TEST_F(TeacherCache, OnlineStudentsApproachTheirTeacherByEveryDivergence) {
  for (const auto kind :
       {ops::Divergence::forward_kl, ops::Divergence::reverse_kl, ops::Divergence::jensen_shannon}) {
    auto student = tiny_model(ctx, kTinyLlama, 8);
    const double before = distance(ctx, *student, *teacher);
    TinyData data;
    TrainerHooks hooks;
    TeacherTally tally;
    hooks.objective = online_objective(*teacher, {.kind = kind}, tally);
    TrainOptions options = tiny_options();
    options.batch = 8;
    Trainer(ctx, *student, data, options, {.steps = 40}, hooks).run();
    EXPECT_LT(distance(ctx, *student, *teacher), 0.7 * before) << static_cast<int>(kind);
  }
}

// The memory preflight of a student beside its teacher, against what such a run maps.
TEST_F(TeacherCache, ThePreflightCountsTheTeacherBeside) {
  Json wide = parse_json(kTinyLlama, "config");
  wide["hidden_size"] = 128;
  wide["intermediate_size"] = 256;
  const auto large = tiny_model(ctx, to_text(wide), 9);
  TrainOptions options = tiny_options();
  options.batch = 8;
  options.context = 64;
  TeacherTally tally;
  std::unique_ptr<Model> kept;
  TrainingPlan plan = whole_model([] { return create_model(parse_json(kTinyLlama, "config")); }, kept);
  const int64_t alone = training_memory(ctx, plan, options, false).activations;
  plan.objective = online_objective(*large, {}, tally);
  const int64_t beside = training_memory(ctx, plan, options, false).total();
  EXPECT_GT(training_memory(ctx, plan, options, false).activations, alone + alone / 10);
  Context real = ctx;
  real.memory = Allocator::create();
  const auto student = tiny_model(real, kTinyLlama, 8);
  TinyData data;
  TrainerHooks hooks;
  hooks.objective = plan.objective;
  Trainer(real, *student, data, options, {.steps = 2}, hooks).run();
  EXPECT_NEAR(static_cast<double>(beside) / static_cast<double>(real.memory->mapped()), 1, 0.1);
}

}  // namespace
}  // namespace frugal
