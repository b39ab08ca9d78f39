// Files: whole reads, read-only maps, and writes that either happen entirely or not at all.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

namespace frugal {

namespace fs = std::filesystem;

// The whole file; Error (path and reason) when it cannot be read.
std::string read_file(const fs::path& path);

// Writes to a temporary file beside `path`, fsyncs it, renames it over `path` and fsyncs the directory. A
// crash or a full disk leaves the old file whole. Error says which path and why ("No space left on device").
void write_file_atomically(const fs::path& path, std::string_view content);

// Streams a large file the same way: write() as often as needed, then commit(). Without commit() nothing
// appears.
class AtomicFile {
 public:
  explicit AtomicFile(const fs::path& path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;
  void write(const void* data, size_t bytes);
  void write(std::string_view text) { write(text.data(), text.size()); }
  void commit();

 private:
  void flush();
  fs::path path_, temporary_;
  int descriptor_ = -1;
  std::string buffer_;
};

void sync_directory(const fs::path& directory);
// mkdir -p with an Error for people.
void make_directories(const fs::path& directory);

// A read-only memory map of a whole file. Empty files map to an empty span.
class MappedFile {
 public:
  explicit MappedFile(const fs::path& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  std::span<const std::byte> bytes() const { return {static_cast<const std::byte*>(data_), size_}; }
  std::string_view text() const { return {static_cast<const char*>(data_), size_}; }
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
  void* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace frugal
