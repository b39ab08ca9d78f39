// A model, its tokenizer and how it wants to be sampled, as the verbs that generate need them.
#pragma once

#include "cli/cli.h"
#include "infer/engine.h"
#include "io/model_files.h"
#include "text/tokenizer.h"

namespace frugal::cli {

// --help of MODEL.
inline constexpr const char* kModelHelp =
    "A directory in Hugging Face layout, a run directory, a .gguf file, or a name that 'frugal pull' fetched";

// --help of MODEL where the tokenizer alone is wanted.
inline constexpr const char* kTokenizerHelp =
    "A directory with tokenizer.json, the file itself, a .gguf file, or the name of a pulled model";

// What a MODEL argument stands for: a directory in HF layout, a run directory, a .gguf file, or else a name
// that `frugal pull` fetched. Error that says what was looked for.
fs::path find_model(const std::string& name, const Environment& environment);
// The same, but left as it is when it is not the name of a pulled model (recipes, files of other kinds).
std::string pulled_or_same(const std::string& name, const Environment& environment);

struct OpenModel {
  fs::path directory;
  std::unique_ptr<Model> model;
  Tokenizer tokenizer;
  GenerationConfig generation;
};
// `name` is what the user gave as MODEL, `adapter` what as --adapter.
OpenModel open_model(Runtime& runtime, const std::string& name,
                     const std::optional<std::string>& adapter = {});

// --adapter of the verbs that read a model: a LoRA adapter in PEFT's layout, used beside the model as it is.
void declare_adapter(Command& command, std::optional<std::string>& adapter);
// The model alone, mapped.
std::unique_ptr<Model> open_weights(Runtime& runtime, const std::string& name,
                                    const std::optional<std::string>& adapter);

// The tokenizer of a MODEL (also a .gguf file), or of a tokenizer.json or a directory that holds one.
Tokenizer open_tokenizer(const std::string& name, const Environment& environment);

// Flags of speculative decoding.
struct DraftFlags {
  std::optional<std::string> kind;
  int64_t longest = DraftOptions{}.longest;
  // `usual`: the kind without the flag.
  void declare(Command& command, DraftKind usual);
  DraftOptions options() const;  // UsageError for a kind that is none

 private:
  DraftKind usual_ = DraftKind::off;
};

// Flags of generate and chat. What is not given is as generation_config.json says, else temperature 0.8 and
// no filter.
struct SamplingFlags {
  std::optional<double> temperature, top_p, min_p, repetition_penalty;
  std::optional<int64_t> top_k;
  std::optional<int64_t> seed;
  std::vector<std::string> stop;
  std::optional<int64_t> context;
  std::string compute = "fast";
  std::optional<std::string> kv_format;
  DraftFlags draft;

  void declare(Command& command);
  // Checked; without --seed a new one every time.
  SamplingOptions options(const GenerationConfig& wishes) const;
};

inline constexpr const char* kComputeHelp =
    "fast (activations as integers for quantised weights, bf16 keys and values) or exact (f32 throughout)";
// exact or fast; UsageError otherwise.
Compute parse_compute(const std::string& text);
// What keys and values are stored as: what the user asked for, else bf16 for fast computing, f32 for exact.
// UsageError when the name is none of f32, bf16, q8_0.
const Format& kv_format(Compute compute, const std::optional<std::string>& name);
void declare_kv_format(Command& command, std::optional<std::string>& name);

// The ids that end a reply: those of generation_config.json and the tokenizer's EOS.
std::vector<int32_t> stop_ids(const OpenModel& model);

}  // namespace frugal::cli
