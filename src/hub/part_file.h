// A download that is not whole yet: NAME.part, and NAME.part.json that says what it is a part of.
#pragma once

#include <optional>
#include <span>

#include "hub/download.h"

namespace frugal::hub {

class PartFile {
 public:
  // Opens or creates both, or starts anew when what is there belongs to another content. Error when another
  // process is at it or it cannot be written.
  PartFile(const RemoteFile& file, const fs::path& target);
  ~PartFile();
  PartFile(const PartFile&) = delete;
  PartFile& operator=(const PartFile&) = delete;

  int64_t size() const { return size_; }
  // The strong validator of what came in so far; empty when there is none.
  const std::string& etag() const { return etag_; }
  // Error naming the file and the reason ("No space left on device"); what was written stays.
  void append(std::span<const char> bytes);
  void restart();
  // Of the answer that the next bytes come from.
  void set_etag(const std::string& etag);
  const fs::path& path() const { return path_; }
  // Everything reaches the disk, then the file gets its final name and its description goes.
  void commit();
  void discard();

 private:
  void describe() const;
  fs::path target_, path_, description_;
  std::string url_, etag_;
  Checksum checksum_;
  int descriptor_ = -1;
  int64_t size_ = 0;
};

}  // namespace frugal::hub
