// Pre-tokenisation: cuts text into words, which BPE never merges across. A chain of splitters as
// tokenizer.json lists them (Split, ByteLevel, Digits, Metaspace, Punctuation, Whitespace, Sequence; or
// none). Words go straight to the next splitter, so memory does not grow with text.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/json.h"
#include "core/thread_pool.h"

namespace frugal {

class JsonFields;

// What ByteLevel splits by when it uses its regex.
inline constexpr std::string_view kGpt2Pattern =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

enum class SplitBehavior { isolated, removed, merged_with_previous, merged_with_next, contiguous };

class PreTokenizer {
 public:
  using Emit = FunctionRef<void(std::string_view)>;

  // From the "pre_tokenizer" of a tokenizer.json; `where` starts the Error for what is not understood.
  PreTokenizer(const Json& json, const std::string& where);
  ~PreTokenizer();
  PreTokenizer(PreTokenizer&&) noexcept;
  PreTokenizer& operator=(PreTokenizer&&) noexcept;

  class Stage;
  // What one thread needs to match; make one per encode call.
  class Scratch {
   public:
    Scratch();
    ~Scratch();

    // Where the text begins that is encoded, if the next call of split() gets its beginning; else null.
    const char* origin = nullptr;

   private:
    friend class PreTokenizer;
    struct State;
    std::unique_ptr<State> state_;
  };

  // Calls emit for every non-empty word of `text` (valid UTF-8), in order. A word is only valid during the
  // call.
  void split(std::string_view text, Scratch& scratch, Emit emit) const;

  // Whether words become bytes (ByteLevel); else they stay characters, as SentencePiece models have them.
  bool byte_level() const { return bytes_; }
  // Whether it is exactly the one llama.cpp calls "qwen2".
  bool is_qwen2() const { return qwen2_; }

 private:
  void add(const Json& json, const std::string& where);
  static void read_metaspace(const JsonFields& fields, Stage& stage);
  static void read_split(const JsonFields& fields, Stage& stage);
  void split_from(size_t stage, std::string_view text, Scratch& scratch, Emit emit) const;

  std::vector<std::unique_ptr<Stage>> stages_;
  bool bytes_ = false;  // ByteLevel was seen; it must be the last
  bool qwen2_ = false;
};

}  // namespace frugal
