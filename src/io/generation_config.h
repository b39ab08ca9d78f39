// generation_config.json: how a model wants to be sampled. Only the keys that we act on; what else a file
// says is kept by those who wrote it.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "core/fields.h"
#include "core/files.h"

namespace frugal {

struct GenerationConfig {
  std::optional<int64_t> bos_token_id, pad_token_id;
  std::vector<int64_t> eos_token_id;  // HF writes a number or a list
  std::optional<bool> do_sample;
  std::optional<double> temperature, top_p, min_p, repetition_penalty;
  std::optional<int64_t> top_k;

  void visit(FieldVisitor& v) {
    v.field("bos_token_id", bos_token_id, "begins a text");
    v.field("eos_token_id", eos_token_id, "each of these ends a reply");
    v.field("pad_token_id", pad_token_id, "fills batches in other programs");
    v.field("do_sample", do_sample, "false: greedy unless asked otherwise");
    v.field("temperature", temperature, "");
    v.field("top_k", top_k, "");
    v.field("top_p", top_p, "");
    v.field("min_p", min_p, "");
    v.field("repetition_penalty", repetition_penalty, "");
  }
};

// What `directory` says; where it has no such file, the ids of its config.json. Of a GGUF file, its metadata.
GenerationConfig read_generation_config(const fs::path& directory);

}  // namespace frugal
