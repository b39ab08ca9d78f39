// The tokenizer inside a GGUF file: its keys, read and written.
#pragma once

#include "io/gguf_writer.h"
#include "text/tokenizer.h"

namespace frugal {

// Error (file, key) on what is missing or makes no sense.
// The vocabulary shows the file's own texts and keeps it open.
GgmlVocabulary read_ggml_vocabulary(std::shared_ptr<const GgufFile> file);
void write_ggml_vocabulary(const GgmlVocabulary& vocabulary, GgufMetadata& metadata);

// The tokenizer of a GGUF file, a directory in HF layout, or a tokenizer.json.
Tokenizer load_tokenizer(const fs::path& path);

}  // namespace frugal
