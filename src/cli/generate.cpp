// frugal generate MODEL -p TEXT: continues a text.
#include <nlohmann/json.hpp>

#include "cli/input.h"
#include "cli/profile_report.h"
#include "cli/reply.h"
#include "cli/verbs.h"
#include "core/error.h"

namespace frugal::cli {
namespace {

struct GenerateArguments {
  CommonOptions common;
  SamplingFlags sampling;
  ProfileFlag profile;
  std::string model;
  std::optional<std::string> prompt;
  int64_t tokens = 128;
  std::optional<std::string> adapter;
};

EngineOptions engine_options(const GenerateArguments& a, const Model& model, int64_t prompt) {
  EngineOptions options;
  options.kv_format = &kv_format(parse_compute(a.sampling.compute), a.sampling.kv_format);
  options.draft = a.sampling.draft.options();
  const int64_t most = model.shape().max_positions;
  // Without --context room for exactly this reply, as far as the model reaches.
  options.context = a.sampling.context.value_or(a.tokens == 0 ? most : std::min(most, prompt + a.tokens));
  return options;
}

void generate(GenerateArguments& a, const Environment& environment) {
  if (a.tokens < 0) fail_usage("-n {}: expected 0 (until the context is full) or more", a.tokens);
  if (!a.prompt && environment.input_is_terminal)
    fail_usage("no prompt: give one with -p TEXT, or -p - to read it");
  Runtime runtime(a.common, environment);
  runtime.ctx().compute = parse_compute(a.sampling.compute);
  const OpenModel model = open_model(runtime, a.model, a.adapter);
  const ReplyRequest request{.prompt = encode_prompt(model.tokenizer, text_or_input(a.prompt.value_or("-"))),
                             .max_tokens = a.tokens,
                             .sampling = a.sampling.options(model.generation),
                             .stop_ids = stop_ids(model),
                             .stop_strings = a.sampling.stop};
  Engine engine(runtime.ctx(), *model.model, engine_options(a, *model.model, std::ssize(request.prompt)));
  a.profile.start(runtime.ctx());
  const Reply reply = stream_reply(engine, model.tokenizer, request, [&](std::string_view piece) {
    if (a.common.json) return;
    print(piece);
    flush();
  });
  const Generation& g = reply.generation;
  const bool drafts = a.sampling.draft.options().kind != DraftKind::off;
  if (a.common.json) {
    Json report{{"text", reply.text},
                {"ids", g.ids},
                {"finish_reason", reply.reason},
                {"prompt_tokens", g.prompt_tokens},
                {"seed", request.sampling.seed},
                {"prefill_seconds", g.prefill_seconds},
                {"decode_seconds", g.decode_seconds},
                {"tok_s", reply.tokens_per_second()}};
    if (drafts) report["draft"] = draft_json(g.draft);
    a.profile.finish(runtime.ctx(), a.common, &report);
    return print_json(report);
  }
  print("\n");
  flush();  // before what goes to stderr
  note(a.common, fmt::format("{} tokens in, {} out, {:.1f} tok/s, {}", g.prompt_tokens, g.ids.size(),
                             reply.tokens_per_second(), reply.reason));
  if (a.sampling.draft.kind && drafts) note(a.common, draft_line(g.draft));
  a.profile.finish(runtime.ctx(), a.common);
}

}  // namespace

void declare_generate(Command& command, const Environment& environment) {
  const auto a = std::make_shared<GenerateArguments>();
  a->common.declare(command);
  command.positional("MODEL", a->model, kModelHelp);
  declare_adapter(command, a->adapter);
  command.option("-p,--prompt", a->prompt, "The text to continue; - reads standard input");
  command.option("-n", a->tokens, "At most so many tokens; 0: until the context is full");
  a->sampling.declare(command);
  a->profile.declare(command);
  command.action([a, environment] { generate(*a, environment); });
}

}  // namespace frugal::cli
