// tokenizer.json of characters with byte fallback (Llama 2, Mistral) as GGUF's SentencePiece vocabulary.
#pragma once

#include <string>
#include <vector>

#include "text/added_tokens.h"
#include "text/ggml_vocabulary.h"
#include "text/tokenizer_file.h"

namespace frugal {

// Sets model, types, scores and add_space_prefix of `out`, whose tokens are there. llama.cpp merges the
// neighbours whose union has the best score; tokenizer.json merges by the rank of the pair. Error where no
// scores give what the ranks give, or where the text is prepared in a way that GGUF cannot say.
void set_spm(const TokenizerFile& file, const std::vector<AddedToken>& added, GgmlVocabulary& out);

}  // namespace frugal
