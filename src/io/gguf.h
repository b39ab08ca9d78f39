// GGUF, versions 2 and 3, little-endian: a header, typed metadata by key, a list of tensors, then their data.
// Reading maps the file and copies only names. The reader trusts nothing: counts are held against the size of
// the file before anything is allocated, names are unique, strings are UTF-8, and every tensor lies aligned
// inside the file, apart from all others. Every Error names the file and what is wrong with it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/files.h"
#include "tensor/format.h"

namespace frugal {

// Types of metadata values, by their numbers in the file.
enum class GgufType : uint32_t {
  u8 = 0,
  i8 = 1,
  u16 = 2,
  i16 = 3,
  u32 = 4,
  i32 = 5,
  f32 = 6,
  boolean = 7,
  string = 8,
  array = 9,
  u64 = 10,
  i64 = 11,
  f64 = 12,
};
std::string_view to_string(GgufType type);

// A value of the metadata: one of `type`, or a list of them (lists of lists are refused).
struct GgufField {
  std::string key;
  GgufType type{};
  bool list = false;
  uint64_t count = 1;               // elements of a list
  std::span<const std::byte> data;  // as in the file; strings with their lengths before them
};

struct GgufEntry {
  std::string name;
  const Format* format = nullptr;
  std::vector<int64_t> shape;              // outermost dimension first, as everywhere here; 1 to 4
  std::span<const std::byte> data;         // aligned to at least 8 bytes
  std::shared_ptr<const MappedFile> file;  // keeps `data` alive: a tensor that aliases it holds a copy
};

class GgufFile {
 public:
  explicit GgufFile(const fs::path& path);

  // In the order of the file.
  std::span<const GgufEntry> entries() const { return entries_; }
  std::span<const GgufField> metadata() const { return fields_; }
  // Null when there is no tensor, no key of that name.
  const GgufEntry* find(std::string_view name) const;
  const GgufField* find_field(std::string_view key) const;
  bool has(std::string_view key) const { return find_field(key) != nullptr; }
  const fs::path& path() const { return map_->path(); }

  // The value of a key. Error (file, key, what was expected and found) when it is missing, of another kind,
  // or outside `least` to `most`. Integers may be stored in any integer type, numbers in that or a
  // floating-point type; numbers are finite.
  int64_t integer(std::string_view key, int64_t least = INT64_MIN, int64_t most = INT64_MAX) const;
  double number(std::string_view key) const;
  bool boolean(std::string_view key) const;
  std::string_view text(std::string_view key) const;  // valid as long as the file
  std::vector<int64_t> integers(std::string_view key) const;
  std::vector<float> numbers(std::string_view key) const;
  std::vector<std::string_view> texts(std::string_view key) const;

 private:
  const GgufField& expect(std::string_view key, bool list, std::string_view wanted) const;

  std::shared_ptr<const MappedFile> map_;
  std::vector<GgufField> fields_;
  std::vector<GgufEntry> entries_;
  std::vector<size_t> fields_by_key_, entries_by_name_;  // positions in the order of the names
};

}  // namespace frugal
