// Examples as token sequences: a model's own chat template rendered, tokenised, and every token marked as
// learnt (what the assistant says, its end of turn included) or given (everything else).
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "text/chat_template.h"
#include "text/tokenizer.h"
#include "tune/example.h"

namespace frugal {

struct TokenSequence {
  std::vector<int32_t> tokens;
  std::vector<bool>
      learnt;  // token i counts in the loss (it is predicted by token i - 1); the first never does
  std::vector<std::vector<float>> extra;  // columns of TrainBatch::extra, a value a token; mostly none

  int64_t targets() const;
  void append(std::span<const int32_t> ids, bool are_learnt);
  void cut(size_t length);
};

// Which of an assistant's turns are learnt.
enum class Turns { all, last };

class SequenceBuilder {
 public:
  SequenceBuilder(const Tokenizer& tokenizer, Turns turns);

  // Where the template marks what the assistant says ({% generation %}) the marks count. Otherwise the
  // conversation is rendered up to each turn, with and without it, and what the turn adds counts: from where
  // a reply would begin (add_generation_prompt), up to its last special token. So prompts are tokenised as
  // they are when the model answers. Error starting with example.where: no template, one that does not open
  // the assistant's turn, or one that writes earlier turns otherwise once the conversation goes on (then only
  // Turns::last can be learnt).
  TokenSequence build(const Example& example) const;

  // The ids that ask for a reply to the messages: what is generated from.
  std::vector<int32_t> prompt(const std::string& messages_json, const std::string& where) const;
  // The same for plain text: BOS as the tokenizer has it, no EOS.
  std::vector<int32_t> text_prompt(std::string_view text, const std::string& where) const;
  bool has_template() const { return chat_.has_value(); }
  // Prompt and reply as generated, for scoring: `reply` is learnt.
  static TokenSequence join(std::span<const int32_t> prompt, std::span<const int32_t> reply);

 private:
  struct Cut {
    size_t begin, end;  // bytes of the rendered text
  };
  TokenSequence plain(const Example& example) const;
  std::vector<Cut> rendered_turns(const Json& messages, const Example& example,
                                  const RenderedChat& full) const;
  Cut turn(const Json& messages, size_t index, const Example& example, const RenderedChat& full) const;
  RenderedChat render(const Json& messages, size_t count, bool open, const std::string& where) const;
  TokenSequence tokenised(const RenderedChat& full, const std::vector<Cut>& cuts) const;
  const ChatTemplate& chat(const std::string& where) const;

  Tokenizer tokenizer_;
  Turns turns_;
  std::optional<ChatTemplate> chat_;
};

}  // namespace frugal
