// Writing GGUF version 3: metadata first, then tensors streamed in constant memory through a temporary file.
#pragma once

#include "io/gguf.h"

namespace frugal {

// Keys and values in the order they are added. Error on a key that is empty, taken or not UTF-8.
class GgufMetadata {
 public:
  void add(std::string_view key, std::string_view text);
  void add(std::string_view key, const char* text) { add(key, std::string_view(text)); }
  void add(std::string_view key, std::span<const std::string> list);
  void add(std::string_view key, std::span<const std::string_view> list);
  void add(std::string_view key, bool value) { add_one(key, GgufType::boolean, value); }
  void add(std::string_view key, uint8_t value) { add_one(key, GgufType::u8, value); }
  void add(std::string_view key, int8_t value) { add_one(key, GgufType::i8, value); }
  void add(std::string_view key, uint16_t value) { add_one(key, GgufType::u16, value); }
  void add(std::string_view key, int16_t value) { add_one(key, GgufType::i16, value); }
  void add(std::string_view key, uint32_t value) { add_one(key, GgufType::u32, value); }
  void add(std::string_view key, int32_t value) { add_one(key, GgufType::i32, value); }
  void add(std::string_view key, uint64_t value) { add_one(key, GgufType::u64, value); }
  void add(std::string_view key, int64_t value) { add_one(key, GgufType::i64, value); }
  void add(std::string_view key, float value) { add_one(key, GgufType::f32, value); }
  void add(std::string_view key, double value) { add_one(key, GgufType::f64, value); }
  void add(std::string_view key, std::span<const uint8_t> list) { add_list(key, GgufType::u8, list); }
  void add(std::string_view key, std::span<const uint32_t> list) { add_list(key, GgufType::u32, list); }
  void add(std::string_view key, std::span<const int32_t> list) { add_list(key, GgufType::i32, list); }
  void add(std::string_view key, std::span<const float> list) { add_list(key, GgufType::f32, list); }
  // All that `other` holds. Error on a key that is taken.
  void add_all(const GgufMetadata& other);
  // As it stands in a file. The alignment is the writer's business: that key is left out.
  void copy(const GgufField& field);

  uint64_t count() const { return keys_.size(); }
  std::string_view bytes() const { return bytes_; }

 private:
  template <class T>
  void add_one(std::string_view key, GgufType type, T value) {
    add_field({std::string(key), type, false, 1, std::as_bytes(std::span<const T>(&value, 1))});
  }
  template <class T>
  void add_list(std::string_view key, GgufType type, std::span<const T> values) {
    add_field({std::string(key), type, true, values.size(), std::as_bytes(values)});
  }
  void add_field(const GgufField& field);

  std::vector<std::string> keys_;  // sorted
  std::string bytes_;
};

struct GgufDeclaration {
  std::string name;
  const Format* format = nullptr;
  std::vector<int64_t> shape;  // outermost first
};

// Declares all tensors, then streams their bytes in the declared order. Nothing appears at `path` before
// commit(). Error on what other readers would refuse: names of 64 bytes and more, shapes of no or more than 4
// dimensions, formats that GGUF lacks.
class GgufWriter {
 public:
  GgufWriter(const fs::path& path, const GgufMetadata& metadata, std::vector<GgufDeclaration> tensors);

  std::span<const GgufDeclaration> order() const { return tensors_; }
  // The next bytes of tensor `name`, in as many calls as is convenient. CHECKs order and total size.
  void write(std::string_view name, std::span<const std::byte> data);
  // CHECKs that every tensor is complete, then makes the file appear.
  void commit();

 private:
  void pad(uint64_t written);

  AtomicFile file_;
  std::vector<GgufDeclaration> tensors_;
  size_t current_ = 0;    // the tensor being written
  uint64_t written_ = 0;  // its bytes so far
};

}  // namespace frugal
