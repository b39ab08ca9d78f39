#include "text/tokenizer_file.h"

#include "core/error.h"

namespace frugal {
namespace {

// Receives nlohmann's parse events. Builds `rest` except inside model.vocab and model.merges.
class Handler {
 public:
  Handler(TokenizerFile& file, const std::string& where) : file_(file), where_(where) {}

  bool null() { return value(Json(nullptr)); }
  bool boolean(bool v) { return value(Json(v)); }
  bool number_integer(Json::number_integer_t v) { return value(Json(v)); }
  bool number_unsigned(Json::number_unsigned_t v) {
    if (mode_ == Mode::vocab) {
      if (v > INT32_MAX) fail("{}: model.vocab: id {} of {:?} is out of range", where_, v, key_);
      file_.vocab.emplace_back(std::move(key_), static_cast<int64_t>(v));
      return true;
    }
    return value(Json(v));
  }
  bool number_float(Json::number_float_t v, const std::string&) { return value(Json(v)); }
  bool binary(Json::binary_t&) { return false; }
  bool string(std::string& v) {
    if (mode_ == Mode::merges) return merge_string(v);
    return value(Json(std::move(v)));
  }
  bool key(std::string& v) {
    key_ = std::move(v);
    return true;
  }
  bool start_object(size_t) {
    if (mode_ == Mode::none && at_model("vocab")) {
      if (seen_vocab_) fail("{}: model.vocab occurs twice", where_);
      mode_ = Mode::vocab;
      return seen_vocab_ = true;
    }
    return start(Json::object());
  }
  bool start_array(size_t) {
    if (mode_ == Mode::merges && !pair_) {
      pair_.emplace();
      return true;
    }
    if (mode_ == Mode::none && at_model("merges")) {
      if (seen_merges_) fail("{}: model.merges occurs twice", where_);
      mode_ = Mode::merges;
      return seen_merges_ = true;
    }
    if (mode_ == Mode::none && at_model("vocab")) {
      fail("{}: model.vocab is a list (a Unigram model); only BPE is supported", where_);
    }
    return start(Json::array());
  }
  bool end_object() {
    if (mode_ == Mode::vocab) {
      mode_ = Mode::none;
      return true;
    }
    return end();
  }
  bool end_array() {
    if (mode_ == Mode::merges) {
      if (!pair_) {
        mode_ = Mode::none;
        return true;
      }
      if (pair_->size() != 2) fail("{}: model.merges[{}]: expected two strings", where_, file_.merges.size());
      file_.merges.emplace_back(std::move((*pair_)[0]), std::move((*pair_)[1]));
      pair_.reset();
      return true;
    }
    return end();
  }
  bool parse_error(size_t position, const std::string&, const nlohmann::detail::exception& error) {
    std::string_view reason = error.what();
    if (const auto at = reason.find("] "); at != std::string_view::npos) reason.remove_prefix(at + 2);
    fail("{}: not valid JSON at byte {}: {}", where_, position, reason);
  }

 private:
  enum class Mode { none, vocab, merges };

  bool at_model(std::string_view name) const {
    return stack_.size() == 2 && keys_.back() == "model" && key_ == name && stack_.back()->is_object();
  }
  bool merge_string(std::string& v) {
    if (pair_) {
      if (pair_->size() == 2) fail("{}: model.merges[{}]: expected two strings", where_, file_.merges.size());
      pair_->push_back(std::move(v));
      return true;
    }
    const size_t space = v.find(' ');
    if (space == std::string::npos || v.find(' ', space + 1) != std::string::npos) {
      fail("{}: model.merges[{}]: expected two tokens and a space, found {:?}", where_, file_.merges.size(),
           v);
    }
    file_.merges.emplace_back(v.substr(0, space), v.substr(space + 1));
    return true;
  }
  void refuse_inside_lists() const {
    if (mode_ == Mode::vocab) fail("{}: model.vocab: the id of {:?} is not a whole number", where_, key_);
    if (mode_ == Mode::merges) {
      fail("{}: model.merges[{}]: expected two tokens", where_, file_.merges.size());
    }
  }
  Json* put(Json v) {
    refuse_inside_lists();
    if (stack_.empty()) {
      file_.rest = std::move(v);
      return &file_.rest;
    }
    Json& parent = *stack_.back();
    if (parent.is_array()) {
      parent.push_back(std::move(v));
      return &parent.back();
    }
    if (parent.size() > kMaxFields) fail("{}: an object with more than {} fields", where_, kMaxFields);
    return &(parent[key_] = std::move(v));
  }
  bool value(Json v) {
    put(std::move(v));
    return true;
  }
  bool start(Json v) {
    if (stack_.size() >= kMaxDepth) fail("{}: JSON nested deeper than {} levels", where_, kMaxDepth);
    stack_.push_back(put(std::move(v)));
    keys_.push_back(key_);
    return true;
  }
  bool end() {
    stack_.pop_back();
    keys_.pop_back();
    return true;
  }

  static constexpr size_t kMaxDepth = 64, kMaxFields = 4096;  // ordered objects look keys up one by one
  TokenizerFile& file_;
  const std::string& where_;
  Mode mode_ = Mode::none;
  std::string key_;
  std::vector<Json*> stack_;
  std::vector<std::string> keys_;  // the key each open container stands under
  std::optional<std::vector<std::string>> pair_;
  bool seen_vocab_ = false, seen_merges_ = false;
};

}  // namespace

TokenizerFile parse_tokenizer_file(std::string_view text, const std::string& where) {
  TokenizerFile file;
  Handler handler(file, where);
  Json::sax_parse(text, &handler);
  if (!file.rest.is_object()) fail("{}: expected a JSON object", where);
  return file;
}

}  // namespace frugal
