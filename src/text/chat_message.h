// One message of a conversation, as documents hold it and templates render it.
#pragma once

#include <string>

namespace frugal {

struct ChatMessage {
  std::string role, content;
};

}  // namespace frugal
