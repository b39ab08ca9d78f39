#include "text/tokenizer.h"

#include <nlohmann/json.hpp>
#include <unordered_map>

#include "core/error.h"
#include "core/files.h"
#include "core/rng.h"
#include "text/ggml_pre.h"
#include "text/tokenizer_state.h"
#include "text/unicode.h"

namespace frugal {

Tokenizer Tokenizer::from_json(std::string tokenizer_json, std::string config_json,
                               const std::string& where) {
  auto state = std::make_shared<State>();
  state->load(std::move(tokenizer_json), std::move(config_json), where);
  return Tokenizer(std::move(state));
}

Tokenizer Tokenizer::load(const fs::path& path) {
  const bool directory = fs::is_directory(path);
  const fs::path file = directory ? path / "tokenizer.json" : path;
  if (!fs::exists(file)) fail("{}: there is no tokenizer.json there", path.string());
  std::string config;
  auto state = std::make_shared<State>();
  if (directory && fs::exists(path / "tokenizer_config.json"))
    config = read_file(path / "tokenizer_config.json");
  state->load(read_file(file), std::move(config), file.string());
  if (directory && fs::exists(path / "chat_template.jinja")) {
    state->chat_template = read_file(path / "chat_template.jinja");
    state->template_file = true;
  }
  return Tokenizer(std::move(state));
}

void Tokenizer::save(const fs::path& directory) const {
  make_directories(directory);
  write_file_atomically(directory / "tokenizer.json", state_->document());
  if (!state_->config.empty()) write_file_atomically(directory / "tokenizer_config.json", state_->config);
  if (state_->template_file) write_file_atomically(directory / "chat_template.jinja", state_->chat_template);
}

std::vector<int32_t> Tokenizer::encode(std::string_view text, const EncodeOptions& options) const {
  std::vector<int32_t> out;
  out.reserve(text.size() / 3 + 8);
  encode(text, options, out);
  return out;
}

void Tokenizer::encode(std::string_view text, const EncodeOptions& options, std::vector<int32_t>& out) const {
  const State& s = *state_;
  if (s.spm) return encode_spm(text, options, out);
  if (options.add_special) out.insert(out.end(), s.post.before.begin(), s.post.before.end());
  PreTokenizer::Scratch scratch;
  const auto emit = [&](std::string_view word) { s.bpe->encode(word, out); };
  // Valid UTF-8 goes through the pre-tokeniser; runs of other bytes are words as they are.
  const auto plain = [&](std::string_view part) {
    while (!part.empty()) {
      const size_t valid = valid_utf8_prefix(part);
      if (valid > 0) s.pre->split(part.substr(0, valid), scratch, emit);
      part.remove_prefix(valid);
      const size_t invalid = invalid_utf8_prefix(part);
      if (invalid > 0) emit(part.substr(0, invalid));
      part.remove_prefix(invalid);
    }
  };
  const auto token = [&](int32_t id) { out.push_back(id); };
  const AddedTokens::Rules rules{options.parse_special, options.data};
  const auto normalized = [&](std::string_view part) {
    const bool first = part.data() == text.data();
    if (s.normalizer.empty() && !s.added.any(true)) {
      scratch.origin = first ? part.data() : nullptr;
      return plain(part);
    }
    const std::string text_of_part = s.normalizer.apply(part);
    scratch.origin = first ? text_of_part.data() : nullptr;
    // Offsets move under a normaliser, so a part that holds data has no special tokens of the normalised
    // kind.
    AddedTokens::Rules part_rules{options.parse_special && options.data.empty(), {}};
    s.added.split(text_of_part, true, part_rules, plain, token);
  };
  if (s.added.any(false))
    s.added.split(text, false, rules, normalized, token);
  else
    normalized(text);
  if (options.add_special) out.insert(out.end(), s.post.after.begin(), s.post.after.end());
}

// As llama.cpp: what follows a token of its own begins with a space again.
void Tokenizer::encode_spm(std::string_view text, const EncodeOptions& options,
                           std::vector<int32_t>& out) const {
  constexpr std::string_view kSpace = "\xE2\x96\x81";  // U+2581, SentencePiece's sign for a space
  const State& s = *state_;
  if (options.add_special) out.insert(out.end(), s.post.before.begin(), s.post.before.end());
  bool prefix = s.space_prefix;
  std::string spaced;
  const auto plain = [&](std::string_view part) {
    spaced.assign(prefix ? 1 : 0, ' ');
    for (size_t at = 0; at < part.size();) {
      const size_t sign = std::min(part.find(kSpace, at), part.size());
      spaced += part.substr(at, sign - at);
      if (sign < part.size()) spaced += ' ';
      at = sign + kSpace.size();
    }
    s.spm->encode(spaced, out);
    prefix = false;
  };
  const auto token = [&](int32_t id) {
    out.push_back(id);
    prefix = s.space_prefix;
  };
  if (s.added.any(false)) {
    s.added.split(text, false, {options.parse_special, options.data}, plain, token);
  } else if (!text.empty()) {
    plain(text);
  }
  if (options.add_special) out.insert(out.end(), s.post.after.begin(), s.post.after.end());
}

std::string Tokenizer::decode(std::span<const int32_t> ids, const DecodeOptions& options) const {
  std::string out;
  out.reserve(ids.size() * 4);
  for (const int32_t id : ids) {
    const std::string_view bytes = token_bytes(id);
    if (!options.skip_special || !state_->special[static_cast<size_t>(id)]) out += bytes;
  }
  if (state_->space_prefix && out.starts_with(' ')) out.erase(0, 1);
  return out;
}

int32_t Tokenizer::vocab_size() const {
  return static_cast<int32_t>(state_->special.size());
}

std::string_view Tokenizer::token_bytes(int32_t id) const {
  if (id < 0 || id >= vocab_size()) fail("token id {} is outside the vocabulary of {}", id, vocab_size());
  return state_->bytes_of(static_cast<size_t>(id));
}

bool Tokenizer::is_special(int32_t id) const {
  return id >= 0 && id < vocab_size() && state_->special[static_cast<size_t>(id)];
}

std::optional<int32_t> Tokenizer::find(std::string_view token) const {
  for (const AddedToken& t : state_->added.tokens()) {
    if (t.content == token) return t.id;
  }
  const int32_t id = state_->find(token);
  return id < 0 ? std::nullopt : std::optional(id);
}

std::optional<int32_t> Tokenizer::bos_id() const {
  return state_->bos_id;
}
std::optional<int32_t> Tokenizer::eos_id() const {
  return state_->eos_id;
}
const std::string& Tokenizer::bos_token() const {
  return state_->bos;
}
const std::string& Tokenizer::eos_token() const {
  return state_->eos;
}
const std::string& Tokenizer::chat_template() const {
  return state_->chat_template;
}
std::string_view Tokenizer::ggml_pre() const {
  if (!state_->ggml.tokens.empty()) return state_->ggml.pre;
  const TokenizerFile file = parse_tokenizer_file(state_->document(), "tokenizer.json");
  return ggml_pre_name(file.rest.value("pre_tokenizer", Json()),
                       file.rest.at("model").value("ignore_merges", false));
}
const std::string& Tokenizer::json() const {
  return state_->document();
}
const std::string& Tokenizer::config_json() const {
  return state_->config;
}
uint64_t Tokenizer::fingerprint() const {
  return hash64(state_->document());
}

std::string StreamDecoder::push(int32_t id) {
  if (options_.skip_special && tokenizer_.is_special(id)) return {};
  held_ += tokenizer_.token_bytes(id);
  const size_t tail = incomplete_utf8_tail(held_);
  std::string out = held_.substr(0, held_.size() - tail);
  held_.erase(0, held_.size() - tail);
  return out;
}

std::string StreamDecoder::finish() {
  return std::exchange(held_, {});
}

}  // namespace frugal
