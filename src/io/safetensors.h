// The safetensors format: 8 bytes of little-endian header length, a JSON header naming every tensor's dtype,
// shape and data_offsets, then the data. Reading maps the file and copies nothing; writing streams in
// constant memory through a temporary file. The reader trusts nothing: every tensor lies inside the file,
// exactly as large as its shape says, and together they cover the data without overlap or hole.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "core/files.h"

namespace frugal {

// Bits of one element of a safetensors dtype ("BF16": 16, "F4": 4), or 0 when the name is unknown.
int safetensors_dtype_bits(std::string_view dtype);

struct SafetensorsEntry {
  std::string name;
  std::string dtype;                       // as in the file: "F32", "BF16", "F16", "F8_E4M3", "I64", ...
  std::vector<int64_t> shape;              // empty for a scalar
  std::span<const std::byte> data;         // little-endian; foreign files may leave it unaligned
  std::shared_ptr<const MappedFile> file;  // keeps `data` alive: a tensor that aliases it holds a copy
};

class SafetensorsFile {
 public:
  // Error (file, tensor, reason) when the file is not exactly as the format says.
  explicit SafetensorsFile(const fs::path& path);

  // In the order of their data.
  std::span<const SafetensorsEntry> entries() const { return entries_; }
  // Null when there is no tensor of that name.
  const SafetensorsEntry* find(std::string_view name) const;
  const std::map<std::string, std::string>& metadata() const { return metadata_; }

 private:
  std::vector<SafetensorsEntry> entries_;
  std::unordered_map<std::string, size_t> index_;
  std::map<std::string, std::string> metadata_;
};

// The weights of a directory in Hugging Face layout: model.safetensors, or the shards that
// model.safetensors.index.json names. The index decides: what a shard holds beyond it is left out.
class SafetensorsDirectory {
 public:
  // Error when there are no weights, or the index names a file or tensor that is missing.
  explicit SafetensorsDirectory(const fs::path& directory);

  // Shard by shard in the order of their names, in each in the order of the data.
  std::span<const SafetensorsEntry> entries() const { return entries_; }
  const SafetensorsEntry* find(std::string_view name) const;
  const fs::path& path() const { return directory_; }

 private:
  void read_index(const fs::path& index_path);

  fs::path directory_;
  std::vector<SafetensorsEntry> entries_;
  std::unordered_map<std::string, size_t> index_;
};

struct SafetensorsDeclaration {
  std::string name;
  std::string dtype;
  std::vector<int64_t> shape;
};

// Declares all tensors, then streams their bytes. Nothing appears at `path` before commit(). The order in the
// file is the declared one, except that wider elements come first, so that every tensor is aligned to its
// element.
class SafetensorsWriter {
 public:
  SafetensorsWriter(const fs::path& path, std::vector<SafetensorsDeclaration> tensors,
                    const std::map<std::string, std::string>& metadata = {{"format", "pt"}});

  // The order in which write() wants the tensors.
  std::span<const SafetensorsDeclaration> order() const { return tensors_; }
  // The next bytes of tensor `name`, in as many calls as is convenient. CHECKs order and total size.
  void write(std::string_view name, std::span<const std::byte> data);
  // CHECKs that every tensor is complete, then makes the file appear.
  void commit();

 private:
  void skip_complete();

  AtomicFile file_;
  std::vector<SafetensorsDeclaration> tensors_;
  std::vector<uint64_t> sizes_;  // bytes of each tensor
  size_t current_ = 0;           // the tensor being written
  uint64_t written_ = 0;         // its bytes so far
};

}  // namespace frugal
