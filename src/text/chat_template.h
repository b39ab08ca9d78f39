// Conversations to prompts, by a model's own chat template (Jinja). A rendered prompt says which of its bytes
// came from the conversation: special tokens written there are data, those of the template are control.
#pragma once

#include <cstdint>
#include <ctime>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/json.h"
#include "text/added_tokens.h"
#include "text/chat_message.h"
#include "text/tokenizer.h"

namespace frugal {

struct ChatOptions {
  bool add_generation_prompt = false;  // end where the assistant begins to speak
  std::string tools_json;              // a JSON list of tool descriptions, or empty
  std::string variables_json;          // a JSON object of further variables (enable_thinking, ...), or empty
  std::optional<std::tm> now;          // for strftime_now; the clock (UTC) when absent
};

struct RenderedChat {
  std::string text;
  std::vector<TextSpan> data;  // sorted spans of `text` that came from the conversation
  std::vector<TextSpan>
      generated;  // sorted spans that the template marks as the assistant's ({% generation %})
};

class ChatTemplate {
 public:
  // Error naming the line when the source is no template, or uses what is not supported.
  ChatTemplate(std::string_view jinja_source, std::string bos_token, std::string eos_token);

  // `messages`: a JSON list of {"role", "content", ...}. Error with the line and reason when the template
  // fails or refuses (raise_exception), or takes more than its bounds.
  RenderedChat render_json(const Json& messages, const ChatOptions& options = {}) const;
  RenderedChat render(const std::vector<ChatMessage>& messages, const ChatOptions& options = {}) const;

 private:
  struct Parsed;
  std::shared_ptr<const Parsed> parsed_;
  std::string bos_, eos_;
};

// The ids of a conversation under the tokenizer's own template; Error when it has none (a base model).
std::vector<int32_t> render_chat(const Tokenizer& tokenizer, const std::vector<ChatMessage>& messages,
                                 bool add_generation_prompt);

}  // namespace frugal
