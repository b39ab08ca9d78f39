#include "text/chat_template.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/parser.h"

namespace frugal {
namespace {

// "user", "tool_response": words that cannot hide a special token. Templates build "<|user|>" out of them.
bool is_plain_word(const std::string& text) {
  return std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
  });
}

jinja::Value message_value(const Json& message) {
  jinja::Value value = jinja::from_json(message, true);
  if (message.is_object() && message.contains("role") && message.at("role").is_string()) {
    const auto role = message.at("role").get<std::string>();
    if (is_plain_word(role)) value.dict().set(jinja::Value("role"), jinja::Value(role));
  }
  return value;
}

std::tm utc_now() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  gmtime_r(&now, &parts);
  return parts;
}

}  // namespace

struct ChatTemplate::Parsed {
  jinja::Body body;
};

ChatTemplate::ChatTemplate(std::string_view jinja_source, std::string bos_token, std::string eos_token)
    : bos_(std::move(bos_token)), eos_(std::move(eos_token)) {
  constexpr size_t kMaxSource = 1 << 20;
  if (jinja_source.size() > kMaxSource)
    fail("a chat template of {} bytes; at most {}", jinja_source.size(), kMaxSource);
  auto parsed = std::make_shared<Parsed>();
  try {
    parsed->body = jinja::parse(jinja_source);
  } catch (const Error& error) {
    fail("chat template, {}", error.what());
  }
  parsed_ = std::move(parsed);
}

RenderedChat ChatTemplate::render_json(const Json& messages, const ChatOptions& options) const {
  if (!messages.is_array()) fail("messages must be a list, not {}", messages.type_name());
  jinja::Interpreter interpreter({}, [&] { return options.now ? *options.now : utc_now(); });
  try {
    std::vector<jinja::Value> list;
    for (const Json& message : messages) list.push_back(message_value(message));
    interpreter.set_global("bos_token", jinja::Value(bos_));
    interpreter.set_global("eos_token", jinja::Value(eos_));
    interpreter.set_global("tools", jinja::Value(jinja::None{}));
    interpreter.set_global("documents", jinja::Value(jinja::None{}));
    interpreter.set_global("messages", jinja::Value::list(std::move(list)));
    interpreter.set_global("add_generation_prompt", jinja::Value(options.add_generation_prompt));
    if (!options.tools_json.empty()) {
      interpreter.set_global("tools", jinja::from_json(parse_json(options.tools_json, "tools"), true));
    }
    if (!options.variables_json.empty()) {
      const Json variables = parse_json(options.variables_json, "template variables");
      if (!variables.is_object()) fail("template variables must be an object, not {}", variables.type_name());
      for (const auto& [name, value] : variables.items())
        interpreter.set_global(name, jinja::from_json(value, true));
    }
    jinja::Text text = interpreter.run(parsed_->body);
    return {std::move(text.bytes), std::move(text.input), interpreter.generated()};
  } catch (const Error& error) {
    fail("chat template, {}", error.what());
  }
}

RenderedChat ChatTemplate::render(const std::vector<ChatMessage>& messages,
                                  const ChatOptions& options) const {
  Json list = Json::array();
  for (const ChatMessage& message : messages)
    list.push_back({{"role", message.role}, {"content", message.content}});
  return render_json(list, options);
}

std::vector<int32_t> render_chat(const Tokenizer& tokenizer, const std::vector<ChatMessage>& messages,
                                 bool add_generation_prompt) {
  if (tokenizer.chat_template().empty())
    fail("this model has no chat template; it continues text, it does not chat");
  const ChatTemplate chat(tokenizer.chat_template(), tokenizer.bos_token(), tokenizer.eos_token());
  const RenderedChat rendered = chat.render(messages, {.add_generation_prompt = add_generation_prompt});
  return tokenizer.encode(rendered.text, {.parse_special = true, .data = rendered.data});
}

}  // namespace frugal
