// The teacher reads the training rows once and keeps what it says of them.
#include <fmt/core.h>

#include <algorithm>

#include "core/error.h"
#include "core/interrupted.h"
#include "distill/teacher.h"
#include "io/model_files.h"
#include "meter/units.h"
#include "pipeline/books.h"
#include "pipeline/distillation.h"

namespace frugal {
namespace {

int64_t rows_wanted(const Run& run) {
  const Recipe& recipe = run.recipe;
  int64_t tokens = recipe.distill.tokens;
  if (tokens == 0) tokens = recipe.budget.tokens;
  if (tokens == 0) {
    fail_usage(
        "distill.tokens: say how many tokens the teacher is to read (the budget is not one of tokens)");
  }
  const int64_t rows = (tokens + recipe.train.context - 1) / recipe.train.context;
  return std::max(rows, recipe.train.batch);
}

std::string inputs(Run& run) {
  return hash_of({to_text(write_fields(teacher_identity(run))), std::to_string(rows_wanted(run))});
}

Json work(Run& run) {
  const CacheIdentity identity = teacher_identity(run);
  const fs::path folder = teacher_cache(run);
  const int64_t rows = rows_wanted(run);
  CacheWriter writer(folder, identity);
  const bool there = writer.rows() >= rows;
  if (!there) {
    Context ctx = run.settings.ctx;
    ctx.stream_weights = false;
    const auto teacher = load_model(ctx, find_model(run.recipe.distill.teacher), Weights::mapped_hf);
    const double flops =
        flops_per_token(*teacher, identity.context).forward * static_cast<double>(identity.context);
    const auto stream = training_stream(run);
    const auto source = batches_of(*stream);
    run.books->shares(writer.id());
    const Bill earlier = cost_of(writer.facts());
    const auto facts = [&] {
      Bill bill = earlier;
      bill.add(run.stage->bill());
      return Json{{"teacher", run.recipe.distill.teacher}, {"bill", bill_json(bill)}};
    };
    int64_t before = writer.rows();
    const bool whole = fill_cache(
        ctx, *teacher, *source, writer, identity, rows, run.recipe.distill.rows, [&](int64_t done) {
          run.meter->add_tokens((done - before) * identity.context);
          run.meter->add_flops(flops * static_cast<double>(done - before));
          before = done;
          run.progress("teacher", static_cast<double>(done) / static_cast<double>(rows));
          return run.settings.stop == nullptr || !*run.settings.stop;
        });
    if (!whole && before < rows) {
      writer.note(facts());
      throw Interrupted(fmt::format("the teacher stopped after row {}", before));
    }
    writer.finish(facts());
  }
  const CacheReader reader(folder);
  const int64_t tokens = reader.rows() * identity.context;
  return Json{{"rows", reader.rows()},
              {"tokens", tokens},
              {"bytes", reader.bytes()},
              {"bytes_per_token", static_cast<double>(reader.bytes()) / static_cast<double>(tokens)},
              {"kind", identity.kind},
              {"made_before", there}};
}

std::string summary(const Json& result) {
  return fmt::format("{} read, {:.1f} bytes a token{}", count_of(result.value("tokens", 0.0), "tokens"),
                     result.value("bytes_per_token", 0.0),
                     result.value("made_before", false) ? ", made before" : "");
}

}  // namespace

const Stage kTeacherStage = {
    "teacher",
    "asking the teacher",
    false,
    true,
    [](const Run& run) { return !run.recipe.tune_only && run.recipe.distill.cached(); },
    inputs,
    work,
    summary};

}  // namespace frugal
