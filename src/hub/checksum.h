// Checksums of files as model hubs state them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "core/files.h"

namespace frugal::hub {

// What a file's content must be. Hubs know SHA-256 of large files, and of the others the name Git gives to
// their content: SHA-1 of "blob SIZE", a zero byte and the content.
struct Checksum {
  enum class Kind { none, sha256, git_blob };
  Kind kind = Kind::none;
  std::string hex;  // in lower case
  bool operator==(const Checksum&) const = default;

  // "sha256:9f86d0..." and back; empty text for none. Anything else is none too.
  std::string text() const;
  static Checksum parse(std::string_view text);
  // By the number of digits: 64 are SHA-256, 40 a Git blob; none for anything that is not hexadecimal.
  static Checksum of_hex(std::string_view hex);
};

// Of a file as it lies on the disk, in pieces. `kind` is not none. Error when it cannot be read.
Checksum checksum_of(const fs::path& path, Checksum::Kind kind);

}  // namespace frugal::hub
