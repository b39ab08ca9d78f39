// frugal logits MODEL --ids FILE --out FILE.npy: the reference output that every comparison uses. Exact
// compute, unless it is fast compute that is to be compared.
#include <nlohmann/json.hpp>

#include "cli/input.h"
#include "cli/open_model.h"
#include "cli/verbs.h"
#include "core/error.h"
#include "io/model_files.h"
#include "io/npy.h"

namespace frugal::cli {
namespace {

struct LogitsArguments {
  CommonOptions common;
  std::string model, ids, out, compute = "exact";
  std::optional<std::string> adapter;
};

void check_ids(const std::vector<std::vector<int32_t>>& sequences, const ModelShape& shape) {
  for (const auto& ids : sequences) {
    if (std::ssize(ids) > shape.max_positions) {
      fail("a sequence of {} tokens: this model was made for at most {}", ids.size(), shape.max_positions);
    }
    for (const int32_t id : ids) {
      if (id >= shape.vocab_size)
        fail("token id {} is outside the model's vocabulary of {}", id, shape.vocab_size);
    }
  }
}

void write_logits(const LogitsArguments& a, const Environment& environment) {
  Runtime runtime(a.common, environment);
  Context& ctx = runtime.ctx();
  ctx.compute = parse_compute(a.compute);
  const auto sequences = read_ids(a.ids);
  const auto model = open_weights(runtime, a.model, a.adapter);
  const ModelShape shape = model->shape();
  check_ids(sequences, shape);
  int64_t rows = 0;
  for (const auto& ids : sequences) rows += std::ssize(ids);
  NpyWriter writer(a.out, {rows, shape.vocab_size});
  constexpr int64_t kRows = 64;  // of logits at a time: a vocabulary is large
  for (const auto& ids : sequences) {
    const Hidden hidden = model->forward(ctx, Batch::single(ids), nullptr);
    for (int64_t begin = 0; begin < std::ssize(ids); begin += kRows) {
      std::vector<int64_t> wanted;
      for (int64_t r = begin; r < std::min<int64_t>(begin + kRows, std::ssize(ids)); ++r) wanted.push_back(r);
      writer.write(logits(ctx, *model, hidden.normed, wanted).values());
    }
  }
  writer.commit();
  if (a.common.json) return print_json({{"out", a.out}, {"shape", {rows, shape.vocab_size}}});
  note(a.common, fmt::format("{}: float32 ({}, {})", a.out, rows, shape.vocab_size));
}

}  // namespace

void declare_logits(Command& command, const Environment& environment) {
  const auto a = std::make_shared<LogitsArguments>();
  a->common.declare(command);
  command.positional("MODEL", a->model, kModelHelp);
  declare_adapter(command, a->adapter);
  command.required_option(
      "--ids", a->ids,
      "JSON file of token ids: [..], or [[..], ..] for sequences computed apart, their rows one after "
      "the other; - reads standard input");
  command.required_option("--out", a->out, "The .npy file to write: float32 (T, V)");
  command.option("--compute", a->compute, kComputeHelp);
  command.action([a, environment] { write_logits(*a, environment); });
}

}  // namespace frugal::cli
