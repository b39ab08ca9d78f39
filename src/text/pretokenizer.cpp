#include "text/pretokenizer.h"

#include <cctype>
#include <nlohmann/json.hpp>
#include <optional>

#include "core/error.h"
#include "text/json_fields.h"
#include "text/qwen2_split.h"
#include "text/regex.h"
#include "text/unicode.h"

namespace frugal {
namespace {

constexpr size_t kMaxStages = 64;

struct Piece {
  size_t begin, end;
  bool match;
};

SplitBehavior parse_behavior(const std::string& name, const std::string& where) {
  if (name == "Isolated") return SplitBehavior::isolated;
  if (name == "Removed") return SplitBehavior::removed;
  if (name == "MergedWithPrevious") return SplitBehavior::merged_with_previous;
  if (name == "MergedWithNext") return SplitBehavior::merged_with_next;
  if (name == "Contiguous") return SplitBehavior::contiguous;
  fail("{}: unknown behavior '{}'", where, name);
}

// Joins or drops the alternating pieces (matches and what lies between) as the behaviour says.
class Joiner {
 public:
  Joiner(std::string_view text, SplitBehavior behavior, bool invert, PreTokenizer::Emit emit)
      : text_(text), behavior_(behavior), invert_(invert), emit_(emit) {}

  void add(Piece piece) {
    piece.match ^= invert_;
    switch (behavior_) {
      case SplitBehavior::isolated:
        put(piece.begin, piece.end);
        return;
      case SplitBehavior::removed:
        if (!piece.match) put(piece.begin, piece.end);
        return;
      case SplitBehavior::contiguous:
        return join(piece, pending_ && pending_->match == piece.match);
      case SplitBehavior::merged_with_previous:
        return join(piece, pending_ && piece.match && !pending_->match);
      case SplitBehavior::merged_with_next:
        return join(piece, pending_ && pending_->match && !piece.match);
    }
  }
  void finish() {
    if (pending_) put(pending_->begin, pending_->end);
  }

 private:
  void join(const Piece& piece, bool with_pending) {
    if (!with_pending) {
      finish();
      pending_ = piece;
      return;
    }
    pending_->end = piece.end;
    pending_->match = piece.match;
  }
  void put(size_t begin, size_t end) {
    if (end > begin) emit_(text_.substr(begin, end - begin));
  }

  std::string_view text_;
  SplitBehavior behavior_;
  bool invert_;
  PreTokenizer::Emit emit_;
  std::optional<Piece> pending_;
};

}  // namespace

class PreTokenizer::Stage {
 public:
  enum class Kind { prefix_space, metaspace, regex, literal, numbers, punctuation, qwen2 };
  enum class Prepend { never, first, always };
  Kind kind = Kind::regex;
  SplitBehavior behavior = SplitBehavior::isolated;
  bool invert = false;
  std::optional<Regex> regex;
  std::string literal;  // metaspace: the sign for a space
  Prepend prepend = Prepend::always;
  bool cuts = true;  // metaspace: before every sign

  // `first`: the word begins the text.
  void split(std::string_view text, bool first, std::optional<Regex::Matcher>& matcher, Emit emit) const {
    if (kind == Kind::qwen2) return split_qwen2(text, emit);
    if (kind == Kind::prefix_space) return prefix_space(text, emit);
    if (kind == Kind::metaspace) return metaspace(text, first, emit);
    Joiner joiner(text, behavior, invert, emit);
    size_t done = 0;
    const auto match = [&](size_t begin, size_t end) {
      if (begin > done) joiner.add({done, begin, false});
      joiner.add({begin, end, true});
      done = end;
    };
    if (kind == Kind::regex) {
      if (!matcher) matcher.emplace(*regex);
      find_all(text, *matcher, match);
    } else if (kind == Kind::literal) {
      for (size_t at = text.find(literal); at != text.npos; at = text.find(literal, at + literal.size())) {
        match(at, at + literal.size());
      }
    } else {
      find_characters(text, match);
    }
    if (done < text.size()) joiner.add({done, text.size(), false});
    joiner.finish();
  }

 private:
  static void split_qwen2(std::string_view text, Emit emit) {
    const CharClass* classes = char_classes();
    const char* p = text.data();
    const char* const end = p + text.size();
    while (p < end) {
      const char* q = qwen2_word_end(p, end, classes);
      emit({p, static_cast<size_t>(q - p)});
      p = q;
    }
  }
  static void prefix_space(std::string_view text, Emit emit) {
    if (text.starts_with(' ')) return emit(text);
    const std::string prefixed = " " + std::string(text);
    emit(prefixed);
  }
  // An empty match right after the previous one is skipped; elsewhere it is a cut.
  template <class F>
  static void find_all(std::string_view text, Regex::Matcher& matcher, F match) {
    size_t start = 0;
    std::optional<size_t> last_end;
    matcher.begin(text);
    while (start <= text.size()) {
      const auto found = matcher.find(start);
      if (!found) return;
      if (found->begin == found->end) {
        start = found->end;
        start += start < text.size() ? decode_utf8(text.data() + start, text.data() + text.size()).bytes : 1;
        if (last_end == found->end) continue;
      } else {
        start = found->end;
      }
      match(found->begin, found->end);
      last_end = found->end;
    }
  }
  void metaspace(std::string_view text, bool first, Emit emit) const {
    std::string out;
    for (const char c : text) {
      if (c == ' ') {
        out += literal;
      } else {
        out += c;
      }
    }
    const bool wanted = prepend == Prepend::always || (prepend == Prepend::first && first);
    if (wanted && !out.starts_with(literal)) out.insert(0, literal);
    if (!cuts) return emit(out);
    const std::string_view all = out;
    for (size_t at = 0; at < all.size();) {
      const size_t next = std::min(all.find(literal, at + 1), all.size());
      emit(all.substr(at, next - at));
      at = next;
    }
  }
  bool is_wanted(const DecodedChar& c, const CharClass* classes) const {
    if (kind == Kind::numbers) return classes[c.code] == CharClass::number;
    // What HF calls punctuation: ASCII's, symbols included, and the category P beyond.
    return c.code < 0x80 ? std::ispunct(static_cast<int>(c.code)) != 0
                         : classes[c.code] == CharClass::punctuation;
  }
  template <class F>
  void find_characters(std::string_view text, F match) const {
    const CharClass* classes = char_classes();
    const char* const end = text.data() + text.size();
    for (const char* p = text.data(); p < end;) {
      const DecodedChar c = decode_utf8(p, end);
      const auto at = static_cast<size_t>(p - text.data());
      if (is_wanted(c, classes)) match(at, at + c.bytes);
      p += c.bytes;
    }
  }
};

struct PreTokenizer::Scratch::State {
  std::vector<std::optional<Regex::Matcher>> matchers;
};
PreTokenizer::Scratch::Scratch() : state_(std::make_unique<State>()) {}
PreTokenizer::Scratch::~Scratch() = default;

PreTokenizer::PreTokenizer(const Json& json, const std::string& where) {
  if (!json.is_null()) add(json, where);
  qwen2_ = stages_.size() == 1 && stages_[0]->kind == Stage::Kind::qwen2;
}
PreTokenizer::~PreTokenizer() = default;
PreTokenizer::PreTokenizer(PreTokenizer&&) noexcept = default;
PreTokenizer& PreTokenizer::operator=(PreTokenizer&&) noexcept = default;

void PreTokenizer::read_metaspace(const JsonFields& fields, Stage& stage) {
  fields.only({"type", "replacement", "add_prefix_space", "prepend_scheme", "split", "str_rep"});
  stage.kind = Stage::Kind::metaspace;
  stage.literal = fields.literal("replacement");
  if (decode_utf8(stage.literal.data(), stage.literal.data() + stage.literal.size()).bytes !=
      stage.literal.size()) {
    fail("{}.replacement: expected one character, found {:?}", fields.where(), stage.literal);
  }
  stage.cuts = fields.flag("split", true);
  const std::string scheme = fields.has("prepend_scheme") ? fields.text("prepend_scheme") : "always";
  if (scheme == "first") {
    stage.prepend = Stage::Prepend::first;
  } else if (scheme == "never") {
    stage.prepend = Stage::Prepend::never;
  } else if (scheme != "always") {
    fail("{}: unknown prepend_scheme '{}'", fields.where(), scheme);
  }
  if (!fields.flag("add_prefix_space", true)) stage.prepend = Stage::Prepend::never;
}

void PreTokenizer::read_split(const JsonFields& fields, Stage& stage) {
  fields.only({"type", "pattern", "behavior", "invert"});
  const JsonFields pattern(fields.object("pattern"), fields.where() + ".pattern");
  pattern.only({"Regex", "String"});
  stage.behavior = parse_behavior(fields.text("behavior"), fields.where());
  stage.invert = fields.flag("invert", false);
  if (pattern.has("String")) {
    stage.kind = Stage::Kind::literal;
    stage.literal = pattern.literal("String");
  } else if (const std::string regex = pattern.text("Regex");
             regex == kQwen2Pattern && stage.behavior == SplitBehavior::isolated && !stage.invert) {
    stage.kind = Stage::Kind::qwen2;
  } else {
    stage.regex.emplace(regex);
  }
}

void PreTokenizer::add(const Json& json, const std::string& where) {
  const JsonFields fields(json, where);
  const std::string type = fields.text("type");
  if (bytes_) fail("{}: '{}' after ByteLevel is not supported", where, type);
  if (stages_.size() >= kMaxStages) fail("{}: more than {} stages", where, kMaxStages);
  if (type == "Sequence") {
    fields.only({"type", "pretokenizers"});
    const Json& list = fields.list("pretokenizers");
    for (size_t i = 0; i < list.size(); ++i) add(list[i], fmt::format("{}.pretokenizers[{}]", where, i));
    return;
  }
  auto stage = std::make_unique<Stage>();
  if (type == "ByteLevel") {
    fields.only({"type", "add_prefix_space", "trim_offsets", "use_regex"});
    if (fields.flag("add_prefix_space", true)) {
      stage->kind = Stage::Kind::prefix_space;
      stages_.push_back(std::move(stage));
    }
    if (fields.flag("use_regex", true)) {
      stages_.push_back(std::make_unique<Stage>());
      stages_.back()->regex.emplace(kGpt2Pattern);
    }
    bytes_ = true;
    return;
  }
  if (type == "Digits") {
    fields.only({"type", "individual_digits"});
    stage->kind = Stage::Kind::numbers;
    stage->behavior =
        fields.flag("individual_digits", false) ? SplitBehavior::isolated : SplitBehavior::contiguous;
  } else if (type == "Punctuation") {
    fields.only({"type", "behavior"});
    stage->kind = Stage::Kind::punctuation;
    if (fields.has("behavior")) stage->behavior = parse_behavior(fields.text("behavior"), where);
  } else if (type == "Whitespace") {
    fields.only({"type"});
    stage->regex.emplace("\\w+|[^\\w\\s]+");
    stage->behavior = SplitBehavior::removed;
    stage->invert = true;
  } else if (type == "WhitespaceSplit") {
    fields.only({"type"});
    stage->regex.emplace("\\s");
    stage->behavior = SplitBehavior::removed;
  } else if (type == "Metaspace") {
    read_metaspace(fields, *stage);
  } else if (type == "Split") {
    read_split(fields, *stage);
  } else {
    fail(
        "{}: pre-tokenizer '{}' is not supported (ByteLevel, Split, Digits, Punctuation, Whitespace, "
        "WhitespaceSplit, Metaspace and Sequence are)",
        where, type);
  }
  stages_.push_back(std::move(stage));
}

void PreTokenizer::split(std::string_view text, Scratch& scratch, Emit emit) const {
  scratch.state_->matchers.resize(stages_.size());
  split_from(0, text, scratch, emit);
}

void PreTokenizer::split_from(size_t stage, std::string_view text, Scratch& scratch, Emit emit) const {
  if (text.empty()) return;
  if (stage == stages_.size()) return emit(text);
  const auto next = [&](std::string_view word) { split_from(stage + 1, word, scratch, emit); };
  const bool first = text.data() == scratch.origin;
  if (stage + 1 == stages_.size())
    return stages_[stage]->split(text, first, scratch.state_->matchers[stage], emit);
  stages_[stage]->split(text, first, scratch.state_->matchers[stage], next);
}

}  // namespace frugal
