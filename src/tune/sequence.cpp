#include "tune/sequence.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/error.h"

namespace frugal {
namespace {

bool is_space(char c) {
  return c == ' ' || c == '\n' || c == '\t' || c == '\r';
}
bool is_blank(std::string_view text) {
  return std::all_of(text.begin(), text.end(), is_space);
}

// Spans of `text` inside [begin, end), counted from begin.
std::vector<TextSpan> clipped(const std::vector<TextSpan>& spans, size_t begin, size_t end) {
  std::vector<TextSpan> out;
  for (const TextSpan& span : spans) {
    const size_t first = std::max(span.begin, begin), last = std::min(span.end, end);
    if (first < last) out.push_back({first - begin, last - begin});
  }
  return out;
}

std::vector<int32_t> encode_part(const Tokenizer& tokenizer, const RenderedChat& chat, size_t begin,
                                 size_t end) {
  const std::vector<TextSpan> data = clipped(chat.data, begin, end);
  return tokenizer.encode(std::string_view(chat.text).substr(begin, end - begin),
                          {.parse_special = true, .data = data});
}

bool starts_with(const std::vector<int32_t>& ids, const std::vector<int32_t>& prefix) {
  return prefix.size() <= ids.size() && std::equal(prefix.begin(), prefix.end(), ids.begin());
}

}  // namespace

int64_t TokenSequence::targets() const {
  return std::count(learnt.begin(), learnt.end(), true);
}

void TokenSequence::cut(size_t length) {
  tokens.resize(length);
  learnt.resize(length);
  for (std::vector<float>& column : extra) column.resize(length);
}

void TokenSequence::append(std::span<const int32_t> ids, bool are_learnt) {
  tokens.insert(tokens.end(), ids.begin(), ids.end());
  learnt.resize(tokens.size(), are_learnt);
  if (!learnt.empty()) learnt[0] = false;
}

SequenceBuilder::SequenceBuilder(const Tokenizer& tokenizer, Turns turns)
    : tokenizer_(tokenizer), turns_(turns) {
  if (!tokenizer.chat_template().empty()) {
    chat_.emplace(tokenizer.chat_template(), tokenizer.bos_token(), tokenizer.eos_token());
  }
}

const ChatTemplate& SequenceBuilder::chat(const std::string& where) const {
  if (chat_) return *chat_;
  fail(
      "{}: a conversation, but the model has no chat template; use {{\"prompt\", \"completion\"}} texts, or "
      "a model "
      "with a template (tokenizer_config.json, chat_template.jinja)",
      where);
}

RenderedChat SequenceBuilder::render(const Json& messages, size_t count, bool open,
                                     const std::string& where) const {
  Json part = Json::array();
  for (size_t i = 0; i < count; ++i) part.push_back(messages[i]);
  try {
    return chat(where).render_json(part, {.add_generation_prompt = open});
  } catch (const Error& error) {
    fail("{}: {}", where, error.what());
  }
}

TokenSequence SequenceBuilder::build(const Example& example) const {
  if (example.plain()) return plain(example);
  const Json messages = parse_json(example.messages_json, example.where);
  const RenderedChat full = render(messages, messages.size(), false, example.where);
  const std::vector<Cut> cuts = rendered_turns(messages, example, full);
  TokenSequence sequence = tokenised(full, cuts);
  if (sequence.targets() == 0)
    fail("{}: the template leaves nothing of what the assistant says", example.where);
  return sequence;
}

std::vector<int32_t> SequenceBuilder::text_prompt(std::string_view text, const std::string& where) const {
  std::vector<int32_t> prompt = tokenizer_.encode(text, {.add_special = true});
  const auto eos = tokenizer_.eos_id();
  if (eos && eos != tokenizer_.bos_id() && !prompt.empty() && prompt.back() == *eos) prompt.pop_back();
  if (prompt.empty()) {
    const auto first = tokenizer_.bos_id() ? tokenizer_.bos_id() : eos;
    if (!first) fail("{}: an empty prompt, and the tokenizer has no token to begin a text with", where);
    prompt.push_back(*first);
  }
  return prompt;
}

// EOS behind the completion, so that the model learns to end.
TokenSequence SequenceBuilder::plain(const Example& example) const {
  TokenSequence sequence;
  sequence.append(text_prompt(example.prompt, example.where), false);
  sequence.append(tokenizer_.encode(example.completion), true);
  if (const auto eos = tokenizer_.eos_id()) sequence.append(std::vector<int32_t>{*eos}, true);
  return sequence;
}

std::vector<SequenceBuilder::Cut> SequenceBuilder::rendered_turns(const Json& messages,
                                                                  const Example& example,
                                                                  const RenderedChat& full) const {
  std::vector<size_t> wanted;
  size_t assistants = 0;
  std::vector<size_t> order;  // of the wanted ones among all the assistant's turns
  for (size_t i = 0; i < messages.size(); ++i) {
    if (messages[i]["role"] != "assistant") continue;
    if (i >= example.learnt_from) {
      wanted.push_back(i);
      order.push_back(assistants);
    }
    ++assistants;
  }
  if (turns_ == Turns::last) {
    wanted = {wanted.back()};
    order = {order.back()};
  }
  std::vector<Cut> cuts;
  if (full.generated.empty()) {
    for (const size_t index : wanted) cuts.push_back(turn(messages, index, example, full));
    return cuts;
  }
  if (full.generated.size() != assistants) {
    fail("{}: the template marks {} parts as generated, the conversation has {} turns of the assistant",
         example.where, full.generated.size(), assistants);
  }
  for (const size_t i : order) cuts.push_back({full.generated[i].begin, full.generated[i].end});
  return cuts;
}

SequenceBuilder::Cut SequenceBuilder::turn(const Json& messages, size_t index, const Example& example,
                                           const RenderedChat& full) const {
  const bool last = index + 1 == messages.size();
  const std::string before = render(messages, index, true, example.where).text;
  const RenderedChat after = last ? full : render(messages, index + 1, false, example.where);
  if (!full.text.starts_with(after.text)) {
    fail(
        "{}: the chat template writes the assistant's turn {} otherwise once the conversation goes on (it "
        "drops "
        "reasoning, perhaps), so it cannot be learnt in place; set data.turns = \"last\"",
        example.where, index + 1);
  }
  if (!after.text.starts_with(before) || before.size() >= after.text.size()) {
    fail(
        "{}: the chat template cannot be split: the assistant's turn {} does not begin as the template opens "
        "it "
        "(add_generation_prompt)",
        example.where, index + 1);
  }
  // A template that does not open the turn must not write marks of its own before the reply either.
  if (before == render(messages, index, false, example.where).text) {
    size_t reply = after.text.size();
    for (const TextSpan& span : after.data) {
      if (span.end > before.size()) {
        reply = std::max(span.begin, before.size());
        break;
      }
    }
    const std::string_view marks = std::string_view(after.text).substr(before.size(), reply - before.size());
    if (!is_blank(marks)) {
      fail(
          "{}: the chat template has no assistant marker: with add_generation_prompt it does not write '{}', "
          "which it "
          "puts before a reply",
          example.where, marks);
    }
  }
  return {before.size(), after.text.size()};
}

TokenSequence SequenceBuilder::tokenised(const RenderedChat& full, const std::vector<Cut>& cuts) const {
  // Pieces of text, given and learnt in turn.
  std::vector<size_t> bounds = {0};
  for (const Cut& cut : cuts) {
    bounds.push_back(cut.begin);
    bounds.push_back(cut.end);
  }
  bounds.push_back(full.text.size());
  std::vector<std::vector<int32_t>> pieces;
  // As one text where tokens end at the bounds, as they do at special tokens; else piece by piece, as the
  // model meets a reply that it begins itself.
  const std::vector<int32_t> whole = encode_part(tokenizer_, full, 0, full.text.size());
  size_t done = 0;
  for (size_t i = 1; i < bounds.size(); ++i) {
    const std::vector<int32_t> prefix =
        i + 1 == bounds.size() ? whole : encode_part(tokenizer_, full, 0, bounds[i]);
    if (!starts_with(whole, prefix) || prefix.size() < done) {
      pieces.clear();
      break;
    }
    pieces.emplace_back(prefix.begin() + static_cast<ptrdiff_t>(done), prefix.end());
    done = prefix.size();
  }
  if (pieces.empty()) {
    for (size_t i = 1; i < bounds.size(); ++i) {
      pieces.push_back(encode_part(tokenizer_, full, bounds[i - 1], bounds[i]));
    }
  }
  TokenSequence sequence;
  for (size_t i = 0; i < pieces.size(); ++i) {
    const std::vector<int32_t>& ids = pieces[i];
    if (i % 2 == 0) {
      sequence.append(ids, false);
      continue;
    }
    // The line break that templates write behind the end of a turn is theirs.
    size_t end = ids.size();
    while (end > 0 && !tokenizer_.is_special(ids[end - 1]) && is_blank(tokenizer_.token_bytes(ids[end - 1])))
      --end;
    if (end == 0 || !tokenizer_.is_special(ids[end - 1])) end = ids.size();
    sequence.append({ids.data(), end}, true);
    sequence.append({ids.data() + end, ids.size() - end}, false);
  }
  return sequence;
}

std::vector<int32_t> SequenceBuilder::prompt(const std::string& messages_json,
                                             const std::string& where) const {
  const Json messages = parse_json(messages_json, where);
  const RenderedChat open = render(messages, messages.size(), true, where);
  return encode_part(tokenizer_, open, 0, open.text.size());
}

TokenSequence SequenceBuilder::join(std::span<const int32_t> prompt, std::span<const int32_t> reply) {
  TokenSequence sequence;
  sequence.append(prompt, false);
  sequence.append(reply, true);
  return sequence;
}

}  // namespace frugal
