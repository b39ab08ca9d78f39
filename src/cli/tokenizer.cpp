// frugal tokenizer train | encode | decode | render.
#include <nlohmann/json.hpp>

#include "cli/input.h"
#include "cli/open_model.h"
#include "cli/verbs.h"
#include "core/error.h"
#include "data/source.h"
#include "text/bpe_trainer.h"
#include "text/chat_template.h"

namespace frugal::cli {
namespace {

struct TokenizerArguments {
  CommonOptions common;
  std::string model, out, ids, messages;
  std::optional<std::string> file, text;
  std::vector<std::string> files;
  BpeOptions bpe;
  bool no_special = false, as_data = false, documents = false, no_generation_prompt = false;
};

void train(const TokenizerArguments& a, const Environment& environment) {
  Runtime runtime(a.common, environment);
  BpeTrainer trainer(a.bpe, runtime.ctx().pool);
  for_each_document(expand_patterns(a.files, "FILES"), {}, [&](const Document& document) {
    if (!document.text.empty()) trainer.add(document.text);
    for (const ChatMessage& message : document.messages) trainer.add(message.content);
    return true;
  });
  const Tokenizer tokenizer = trainer.train();
  make_directories(a.out);
  tokenizer.save(a.out);
  if (a.common.json) {
    return print_json({{"out", a.out},
                       {"vocab_size", tokenizer.vocab_size()},
                       {"documents", trainer.documents()},
                       {"bytes", trainer.bytes()}});
  }
  note(a.common, fmt::format("{}: {} tokens learned from {} documents, {} bytes", a.out,
                             tokenizer.vocab_size(), trainer.documents(), trainer.bytes()));
}

std::string given_text(const TokenizerArguments& a) {
  if (a.file && a.text) fail_usage("give either --file or --text");
  if (a.text) return *a.text;
  return a.file && *a.file != "-" ? read_file(*a.file) : read_standard_input();
}

void print_ids(const std::vector<int32_t>& ids) {
  for (size_t i = 0; i < ids.size(); ++i) print(fmt::format("{}{}", i ? " " : "", ids[i]));
  print("\n");
}

void encode(const TokenizerArguments& a, const Environment& environment) {
  const Tokenizer tokenizer = open_tokenizer(a.model, environment);
  const EncodeOptions options{.add_special = !a.no_special, .parse_special = !a.as_data};
  if (!a.documents) {
    const auto ids = tokenizer.encode(given_text(a), options);
    return a.common.json ? print_json({{"ids", ids}}) : print_ids(ids);
  }
  if (!a.file || *a.file == "-" || a.text) fail_usage("--documents wants --file FILE");
  Json all = Json::array();
  for_each_document(expand_pattern(*a.file, "--file"), {}, [&](const Document& document) {
    const auto ids = tokenizer.encode(document.text, options);
    a.common.json ? all.push_back(ids) : print_ids(ids);
    return true;
  });
  if (a.common.json) print_json({{"ids", all}});
}

void decode(const TokenizerArguments& a, const Environment& environment) {
  const Tokenizer tokenizer = open_tokenizer(a.model, environment);
  std::vector<int32_t> ids;
  for (const auto& list : read_ids(a.ids)) ids.insert(ids.end(), list.begin(), list.end());
  const std::string text = tokenizer.decode(ids, {.skip_special = a.no_special});
  if (a.common.json) return print_json({{"text", text}});
  print(text);  // exactly these bytes: no newline is added
}

// A conversation as the model sees it.
void render(const TokenizerArguments& a, const Environment& environment) {
  const Tokenizer tokenizer = open_tokenizer(a.model, environment);
  if (tokenizer.chat_template().empty()) fail("{}: this model has no chat template", a.model);
  Json given = parse_json(a.messages == "-" ? read_standard_input() : read_file(a.messages), a.messages);
  if (given.is_array()) given = Json{{"messages", given}};
  if (!given.is_object() || !given.contains("messages")) {
    fail("{}: expected a list of messages, or an object with \"messages\"", a.messages);
  }
  const Json messages = given["messages"], tools = given.value("tools", Json());
  given.erase("messages");
  given.erase("tools");
  const ChatTemplate chat(tokenizer.chat_template(), tokenizer.bos_token(), tokenizer.eos_token());
  const RenderedChat rendered =
      chat.render_json(messages, {.add_generation_prompt = !a.no_generation_prompt,
                                  .tools_json = tools.is_null() ? "" : to_text(tools),
                                  .variables_json = to_text(given)});
  if (!a.common.json) return print(rendered.text);  // exactly these bytes
  print_json({{"text", rendered.text},
              {"ids", tokenizer.encode(rendered.text, {.parse_special = true, .data = rendered.data})}});
}

}  // namespace

void declare_tokenizer(Command& command, const Environment& environment) {
  const auto a = std::make_shared<TokenizerArguments>();
  const auto declare = [&](const char* name, const char* help,
                           void (*run)(const TokenizerArguments&, const Environment&)) {
    Command sub = command.subcommand(name, help);
    a->common.declare(sub);
    sub.action([a, run, environment] { run(*a, environment); });
    return sub;
  };
  Command learn = declare("train", "Learn a byte-level BPE tokenizer from text", train);
  learn.positional("FILES", a->files, "Text: .txt or .jsonl, also .gz and .zst; folders and globs");
  learn.required_option("--out", a->out, "Directory to write tokenizer.json and tokenizer_config.json to");
  learn.option("--vocab", a->bpe.vocab_size, "Size of the vocabulary");
  learn.option("--min-frequency", a->bpe.min_frequency, "Pairs seen less often are not merged");

  Command to_ids = declare("encode", "Text to token ids", encode);
  to_ids.positional("MODEL", a->model, kTokenizerHelp);
  to_ids.option("--file", a->file, "The text; standard input when neither this nor --text is given");
  to_ids.option("--text", a->text, "The text itself");
  to_ids.flag("--no-special", a->no_special, "Leave out BOS and EOS");
  to_ids.flag("--as-data", a->as_data, "Special tokens written in the text are text, not control");
  to_ids.flag("--documents", a->documents,
              "FILE is .txt or .jsonl, also .gz and .zst: a list for each document");

  Command to_prompt =
      declare("render", "A conversation to the prompt that the model's chat template makes of it", render);
  to_prompt.positional("MODEL", a->model, kTokenizerHelp);
  to_prompt.required_option(
      "--messages", a->messages,
      "JSON: a list of messages, or {\"messages\", \"tools\" and the template's variables}; "
      "- reads standard input");
  to_prompt.flag("--no-generation-prompt", a->no_generation_prompt, "Do not begin the assistant's turn");

  Command to_text = declare("decode", "Token ids to text", decode);
  to_text.positional("MODEL", a->model, kTokenizerHelp);
  to_text.required_option("--ids", a->ids, "JSON file of token ids; - reads standard input");
  to_text.flag("--no-special", a->no_special, "Leave out special tokens");
}

}  // namespace frugal::cli
