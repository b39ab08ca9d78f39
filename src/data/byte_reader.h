// Streams a file's bytes, decompressing on the way (.gz by zlib, .zst by libzstd, several members or frames
// allowed). Memory is constant whatever the file's size. A stream that ends before its end mark is an Error.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>

namespace frugal {

class ByteReader {
 public:
  virtual ~ByteReader() = default;
  // Fills up to `bytes` bytes of `out`; 0 only at the end. Error names the file.
  virtual size_t read(char* out, size_t bytes) = 0;
  // Bytes of the file itself consumed so far (before decompression), for progress.
  virtual int64_t consumed() const = 0;
};

// Chooses by the name's ending. Error when the file cannot be opened.
std::unique_ptr<ByteReader> open_bytes(const std::filesystem::path& path);

}  // namespace frugal
