// Everything that reads what somebody else wrote, as functions of bytes. Whatever the bytes, a target
// returns: no crash, no exception but Error, no memory that the size of the input does not explain, and an
// end. libFuzzer programs (fuzz/driver.cpp) and a test (tests/fuzz) call them.
#pragma once

#include <cstddef>
#include <functional>
#include <span>
#include <string_view>

namespace frugal::fuzz {

struct Target {
  std::string_view name;  // of the program fuzz_NAME and of the folder corpus/NAME
  void (*run)(std::string_view input);
  size_t longest;       // bytes of input worth trying
  size_t memory;        // bytes a run may take besides...
  size_t memory_times;  // ...so many for each of the input
};

// The list. A new parser is a function here, a line of targets.cpp and a folder of seeds.
std::span<const Target> all_targets();

// Runs `body`; an Error is the answer that bad input deserves. Its message must be fit for one line of a
// terminal: CHECKed here.
void tolerate(const std::function<void()>& body);

// Input of two parts, the second after the byte 0x1E, which none of the first parts' formats has; `otherwise`
// where there is no second.
struct Parts {
  std::string_view first, second;
};
Parts split(std::string_view input, std::string_view otherwise);

void safetensors(std::string_view input);    // a .safetensors file; the index of a sharded model
void gguf(std::string_view input);           // a file, its model with one step of it, its tokenizer
void config(std::string_view input);         // config.json, as every architecture, declared and run dry
void tokenizer(std::string_view input);      // tokenizer.json, then a text to encode and decode
void encode(std::string_view input);         // any text, under tokenizers of every family: it comes back
void chat_template(std::string_view input);  // a template, on a conversation with tools
void recipe(std::string_view input);         // recipe.toml
void regex(std::string_view input);          // a pre-tokeniser's pattern, then a text
void source(std::string_view input);         // a kind of training text, then the file

}  // namespace frugal::fuzz
