// frugal chat MODEL: a conversation in the terminal, under the model's own template. Also reads a pipe, a
// message a line.
#include <algorithm>
#include <iostream>

#include "cli/interrupt.h"
#include "cli/reply.h"
#include "cli/verbs.h"
#include "core/error.h"
#include "text/chat_template.h"

namespace frugal::cli {
namespace {

struct ChatArguments {
  CommonOptions common;
  SamplingFlags sampling;
  std::string model;
  std::optional<std::string> system;
  int64_t tokens = 512;
  std::optional<std::string> adapter;
};

constexpr std::string_view kHelp =
    "/reset forgets the conversation, /exit ends it (so does Ctrl-D); Ctrl-C stops a reply";

// The special token that the template puts behind what the assistant says, if it does.
std::optional<int32_t> end_of_turn(const Tokenizer& tokenizer) {
  const auto ids = render_chat(tokenizer, {{"user", "a"}, {"assistant", "b"}}, false);
  const auto last =
      std::find_if(ids.rbegin(), ids.rend(), [&](int32_t id) { return !tokenizer.is_special(id); });
  if (last == ids.rbegin()) return std::nullopt;
  return *(last.base());
}

class Conversation {
 public:
  Conversation(const ChatArguments& a, Runtime& runtime)
      : arguments_(a),
        model_(open_model(runtime, a.model, a.adapter)),
        engine_(runtime.ctx(), *model_.model, engine_options()),
        stop_ids_(stop_ids(model_)),
        templated_(!model_.tokenizer.chat_template().empty()) {
    sampling_ = a.sampling.options(model_.generation);
    prepare_end_of_turn();
    reset();
  }

  void reset() {
    messages_.clear();
    if (arguments_.system) messages_.push_back({"system", *arguments_.system});
  }

  void answer(const std::string& text, const Interrupt& interrupt) {
    messages_.push_back({"user", text});
    const ReplyRequest request{.prompt = prompt(text),
                               .max_tokens = arguments_.tokens,
                               .sampling = sampling_,
                               .stop_ids = stop_ids_,
                               .stop_strings = arguments_.sampling.stop,
                               .cancel = &interrupt.flag()};
    const Reply reply = stream_reply(engine_, model_.tokenizer, request, [](std::string_view piece) {
      print(piece);
      flush();
    });
    print("\n");
    flush();
    messages_.push_back({"assistant", reply.text});
    if (reply.reason == "length") note(arguments_.common, "(cut: -n allows longer replies)");
  }

 private:
  EngineOptions engine_options() const {
    constexpr int64_t kUsual = 8192;
    EngineOptions options;
    options.kv_format = &kv_format(parse_compute(arguments_.sampling.compute), arguments_.sampling.kv_format);
    options.draft = arguments_.sampling.draft.options();
    options.context =
        arguments_.sampling.context.value_or(std::min(kUsual, model_.model->shape().max_positions));
    return options;
  }

  // A model that never ends its turns by itself was never taught to take turns.
  void prepare_end_of_turn() {
    if (!templated_) {
      note(arguments_.common,
           "warning: a base model without a chat template: it continues your text instead of answering");
      return;
    }
    const auto end = end_of_turn(model_.tokenizer);
    if (end && std::ranges::find(stop_ids_, *end) == stop_ids_.end()) {
      note(arguments_.common,
           "warning: this looks like a base model, not taught to converse: answers may be aimless");
      stop_ids_.push_back(*end);
    }
  }

  // The conversation as ids; the oldest exchanges are dropped when it outgrows the context.
  std::vector<int32_t> prompt(const std::string& text) {
    if (!templated_) return encode_prompt(model_.tokenizer, text);
    while (true) {
      auto ids = render_chat(model_.tokenizer, messages_, true);
      const int64_t room =
          std::min<int64_t>(arguments_.tokens == 0 ? 1 : arguments_.tokens, engine_.context() / 4);
      const size_t oldest = messages_.front().role == "system" ? 1 : 0;
      if (std::ssize(ids) + room <= engine_.context() || oldest + 2 > messages_.size() - 1) return ids;
      messages_.erase(messages_.begin() + static_cast<ptrdiff_t>(oldest),
                      messages_.begin() + static_cast<ptrdiff_t>(oldest) + 2);
      note(arguments_.common, "(the context is full: the oldest exchange was forgotten)");
    }
  }

  const ChatArguments& arguments_;
  OpenModel model_;
  Engine engine_;
  std::vector<int32_t> stop_ids_;
  bool templated_;
  SamplingOptions sampling_;
  std::vector<ChatMessage> messages_;
};

void chat(const ChatArguments& a, const Environment& environment) {
  if (a.tokens < 0) fail_usage("-n {}: expected 0 (until the context is full) or more", a.tokens);
  Runtime runtime(a.common, environment);
  runtime.ctx().compute = parse_compute(a.sampling.compute);
  Conversation conversation(a, runtime);
  const bool interactive = environment.input_is_terminal && environment.output_is_terminal;
  if (interactive) note(a.common, std::string(kHelp));
  Interrupt interrupt;
  std::string line;
  while (true) {
    if (interactive) print("> ");
    flush();
    if (!std::getline(std::cin, line)) break;
    if (line.ends_with('\r')) line.pop_back();
    if (line == "/exit" || line == "/quit") return;
    if (line == "/reset") {
      conversation.reset();
    } else if (line == "/help") {
      note(a.common, std::string(kHelp));
    } else if (line.find_first_not_of(" \t") != std::string::npos) {
      conversation.answer(line, interrupt);
    }
    if (interrupt.flag() && !interactive) break;
    interrupt.clear();
  }
  if (interactive) print("\n");
}

}  // namespace

void declare_chat(Command& command, const Environment& environment) {
  const auto a = std::make_shared<ChatArguments>();
  a->common.declare(command, false);
  command.positional("MODEL", a->model, kModelHelp);
  declare_adapter(command, a->adapter);
  command.option("--system", a->system, "What the model is told before the conversation");
  command.option("-n", a->tokens, "At most so many tokens a reply; 0: until the context is full");
  a->sampling.declare(command);
  command.action([a, environment] { chat(*a, environment); });
}

}  // namespace frugal::cli
