// The tokenizer.json and tokenizer_config.json that Hugging Face would have for a GGUF file's vocabulary.
#pragma once

#include <string>

#include "text/ggml_pre.h"
#include "text/ggml_vocabulary.h"

namespace frugal {

// Whether a token is matched as a whole: those that are control, and those that someone added.
inline bool is_added(GgmlTokenType type) {
  return type == GgmlTokenType::control || type == GgmlTokenType::unknown ||
         type == GgmlTokenType::user_defined;
}

// What is put around a text.
struct Ends {
  bool bos, eos;
};
inline Ends ends_of(const GgmlVocabulary& v, bool bos_by_default) {
  return {v.add_bos.value_or(bos_by_default) && v.bos.has_value(),
          v.add_eos.value_or(false) && v.eos.has_value()};
}

std::string tokenizer_config(const GgmlVocabulary& vocabulary, const Ends& ends);
// Byte-level BPE.
std::string bpe_json(const GgmlVocabulary& vocabulary, const GgmlPre& pre);
// SentencePiece BPE; `prefix`: a text begins with a space that is not its own.
std::string spm_json(const GgmlVocabulary& vocabulary, const Ends& ends, bool prefix);

}  // namespace frugal
