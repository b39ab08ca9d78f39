#include "text/ggml_spm.h"

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>
#include <unordered_map>
#include <unordered_set>

#include "core/error.h"
#include "text/token_decoder.h"
#include "text/unicode.h"

namespace frugal {
namespace {

constexpr std::string_view kSpace = "\xE2\x96\x81";  // U+2581, SentencePiece's sign for a space

[[noreturn]] void refuse(std::string_view what) {
  fail("GGUF cannot say how this tokenizer works: {}", what);
}

bool flag(const Json& part, const char* key, bool otherwise) {
  return part.contains(key) && part[key].is_boolean() ? part[key].get<bool>() : otherwise;
}
std::string text_at(const Json& part, const char* key) {
  return part.contains(key) && part[key].is_string() ? part[key].get<std::string>() : std::string();
}

// What happens to a text before it is merged, in so far as GGUF can say it.
struct Preparation {
  bool prefix = false, signs = false;  // a space is put before it; spaces become their sign
  bool cuts = false;                   // no piece has a space but at its beginning
};

void read_normalizer(const Json& part, Preparation& out) {
  const std::string type = text_at(part, "type");
  if (part.is_null()) return;
  if (type == "Sequence") {
    for (const Json& step : part.at("normalizers")) read_normalizer(step, out);
  } else if (type == "Prepend" && part.at("prepend") == kSpace) {
    out.prefix = true;
  } else if (type == "Replace" && part.at("pattern") == Json{{"String", " "}} &&
             part.at("content") == kSpace) {
    out.signs = true;
  } else {
    refuse(fmt::format("normalizer {}", to_text(part)));
  }
}

void read_pre_tokenizer(const Json& part, Preparation& out) {
  if (part.is_null()) return;
  if (text_at(part, "type") != "Metaspace" || part.at("replacement") != kSpace) {
    refuse(fmt::format("pre_tokenizer {}", to_text(part)));
  }
  out.signs = true;
  out.prefix = text_at(part, "prepend_scheme") != "never" && flag(part, "add_prefix_space", true);
  out.cuts = flag(part, "split", true);
}

Preparation preparation_of(const Json& rest) {
  Preparation out;
  read_normalizer(rest.value("normalizer", Json()), out);
  read_pre_tokenizer(rest.value("pre_tokenizer", Json()), out);
  if (!out.signs) refuse("spaces stay spaces");
  return out;
}

class Scores {
 public:
  Scores(const TokenizerFile& file, const GgmlVocabulary& v) : file_(file), v_(v) {
    for (size_t id = 0; id < v.tokens.size(); ++id) {
      if (v.type(id) == GgmlTokenType::normal) ids_.emplace(v.tokens[id], id);
    }
  }

  // Better scores for what is merged earlier. What no merge makes is found whole or not at all.
  std::vector<float> run() {
    std::vector<float> scores(v_.tokens.size(), 0.0f);
    std::vector<bool> made(v_.tokens.size());
    std::string merged;
    size_t last = v_.tokens.size(), rank = 0;
    for (const auto& [left, right] : file_.merges) {
      merged.assign(left).append(right);
      pairs_.insert(left + '\n' + right);
      const auto found = ids_.find(merged);
      if (found == ids_.end()) continue;  // a control token's text
      const size_t id = found->second;
      if (id != last && made[id]) {
        refuse(fmt::format("its merges into {:?} are not of neighbouring ranks", merged));
      }
      if (id != last) scores[id] = -static_cast<float>(++rank);
      made[id] = true;
      last = id;
    }
    for (const auto& [piece, id] : ids_) check_pairs(piece);
    return scores;
  }

 private:
  // llama.cpp joins any two pieces whose union is one.
  void check_pairs(std::string_view piece) const {
    for (size_t cut = 1; cut < piece.size(); ++cut) {
      const auto left = ids_.find(piece.substr(0, cut)), right = ids_.find(piece.substr(cut));
      if (left == ids_.end() || right == ids_.end()) continue;
      const std::string pair = std::string(left->first) + '\n' + std::string(right->first);
      if (!pairs_.contains(pair)) {
        refuse(fmt::format("{:?} and {:?} do not merge into {:?}", left->first, right->first, piece));
      }
    }
  }

  const TokenizerFile& file_;
  const GgmlVocabulary& v_;
  std::unordered_map<std::string_view, size_t> ids_;
  std::unordered_set<std::string> pairs_;
};

}  // namespace

void set_spm(const TokenizerFile& file, const std::vector<AddedToken>& added, GgmlVocabulary& out) {
  const Preparation text = preparation_of(file.rest);
  const Json& model = file.rest.at("model");
  out.model = "llama";
  out.pre = "default";
  out.add_space_prefix = text.prefix;
  const auto set_type = [&](size_t id, GgmlTokenType type) { out.types[id] = static_cast<int32_t>(type); };
  if (!flag(model, "byte_fallback", false)) refuse("characters without a token do not become bytes");
  if (flag(model, "ignore_merges", false)) refuse("whole words are taken from the vocabulary before merging");
  const std::string unknown = text_at(model, "unk_token");
  size_t bytes = 0;
  for (size_t id = 0; id < out.tokens.size(); ++id) {
    if (byte_of_piece(out.tokens[id]) >= 0) {
      set_type(id, GgmlTokenType::byte);
      ++bytes;
    } else if (!unknown.empty() && out.tokens[id] == unknown) {
      set_type(id, GgmlTokenType::unknown);
      out.unknown = static_cast<int64_t>(id);
    }
  }
  if (bytes != 256) refuse(fmt::format("it has {} tokens of bytes, not 256", bytes));
  for (const AddedToken& token : added) {
    if (token.lstrip || token.rstrip || token.single_word)
      refuse(fmt::format("the added token {:?} takes or wants certain neighbours", token.content));
  }
  if (text.cuts) {
    for (const std::string_view piece : out.tokens) {
      if (piece.find(kSpace, 1) != piece.npos)
        refuse(fmt::format("words end at spaces, yet {:?} is a token", piece));
    }
  }
  out.scores = Scores(file, out).run();
}

}  // namespace frugal
