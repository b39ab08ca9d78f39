#include "targets.h"

#include <algorithm>
#include <array>
#include <string>

#include "core/error.h"
#include "core/utf8.h"

namespace frugal::fuzz {

constexpr size_t kMiB = 1 << 20;

std::span<const Target> all_targets() {
  static constexpr std::array list = {
      Target{"safetensors", safetensors, 4096, 4 * kMiB, 100},
      Target{"gguf", gguf, 32768, 32 * kMiB, 300},  // a cache of words, tables of rotations
      Target{"config", config, 4096, 160 * kMiB, 300},
      Target{"tokenizer", tokenizer, 16384, 32 * kMiB, 500},
      Target{"encode", encode, 4096, 32 * kMiB, 100},
      Target{"chat_template", chat_template, 4096, 64 * kMiB, 300},
      Target{"recipe", recipe, 4096, 32 * kMiB, 300},
      Target{"regex", regex, 1024, 64 * kMiB, 300},
      Target{"source", source, 8192, 32 * kMiB, 3000},  // what is compressed grows by up to a thousand
  };
  return list;
}

void tolerate(const std::function<void()>& body) {
  try {
    body();
  } catch (const Error& error) {
    const std::string_view message = error.what();
    CHECK(!message.empty());
  }
}

Parts split(std::string_view input, std::string_view otherwise) {
  const size_t at = input.find('\x1E');
  if (at == std::string_view::npos) return {input, otherwise};
  return {input.substr(0, at), input.substr(at + 1)};
}

}  // namespace frugal::fuzz
