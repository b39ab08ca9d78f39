// The reserved tokens of tokenizers that we train, in id order. The one place where their names are.
#pragma once

#include <array>
#include <string_view>

namespace frugal {

inline constexpr std::string_view kBos = "<|bos|>";        // begins every document
inline constexpr std::string_view kEos = "<|eos|>";        // ends every document
inline constexpr std::string_view kEndOfTurn = "<|end|>";  // ends every message of a conversation
inline constexpr std::string_view kSystem = "<|system|>";
inline constexpr std::string_view kUser = "<|user|>";
inline constexpr std::string_view kAssistant = "<|assistant|>";
inline constexpr std::string_view kTool = "<|tool|>";
inline constexpr std::string_view kPad = "<|pad|>";

inline constexpr std::array<std::string_view, 16> kReservedTokens = {kBos,
                                                                     kEos,
                                                                     kEndOfTurn,
                                                                     kSystem,
                                                                     kUser,
                                                                     kAssistant,
                                                                     kTool,
                                                                     kPad,
                                                                     "<|reserved_0|>",
                                                                     "<|reserved_1|>",
                                                                     "<|reserved_2|>",
                                                                     "<|reserved_3|>",
                                                                     "<|reserved_4|>",
                                                                     "<|reserved_5|>",
                                                                     "<|reserved_6|>",
                                                                     "<|reserved_7|>"};

// The chat template written beside a tokenizer that we train.
inline constexpr std::string_view kChatTemplate =
    "{{ bos_token }}"
    "{% for message in messages %}"
    "{% if message['role'] not in ['system', 'user', 'assistant', 'tool'] %}"
    "{{ raise_exception('unknown role ' + message['role']) }}"
    "{% endif %}"
    "{{ '<|' + message['role'] + '|>' + message['content'] | trim + '<|end|>' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}";

}  // namespace frugal
