// The pre-tokenisation of Qwen2 (llama.cpp: tokenizer.ggml.pre = "qwen2"), which our own tokenizers use:
// GPT-4's pattern with every digit a word. Matched by hand, several times faster than a regex engine and
// equal to it (tests/text/pretokenizer_test.cpp).
#pragma once

#include <string_view>

#include "text/unicode.h"

namespace frugal {

inline constexpr std::string_view kQwen2Pattern =
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| "
    "?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+"
    "|\\s+(?!\\S)|\\s+";

// The end of the word that starts at `p` (p < end), in valid UTF-8. `classes` is char_classes().
const char* qwen2_word_end(const char* p, const char* end, const CharClass* classes);

}  // namespace frugal
