// Typed access to GGUF metadata.
#include <cmath>
#include <cstring>

#include "core/error.h"
#include "io/gguf.h"

namespace frugal {
namespace {

template <class T>
T at(const GgufField& field, uint64_t i) {
  T value;
  std::memcpy(&value, field.data.data() + i * sizeof(T), sizeof(T));
  return value;
}

// Calls f with element i as the C++ type it is stored as; false when that is no integer or number.
template <class F>
bool with_number(const GgufField& field, uint64_t i, F&& f) {
  switch (field.type) {
    case GgufType::u8:
      return f(at<uint8_t>(field, i)), true;
    case GgufType::i8:
      return f(at<int8_t>(field, i)), true;
    case GgufType::u16:
      return f(at<uint16_t>(field, i)), true;
    case GgufType::i16:
      return f(at<int16_t>(field, i)), true;
    case GgufType::u32:
      return f(at<uint32_t>(field, i)), true;
    case GgufType::i32:
      return f(at<int32_t>(field, i)), true;
    case GgufType::u64:
      return f(at<uint64_t>(field, i)), true;
    case GgufType::i64:
      return f(at<int64_t>(field, i)), true;
    case GgufType::f32:
      return f(at<float>(field, i)), true;
    case GgufType::f64:
      return f(at<double>(field, i)), true;
    default:
      return false;
  }
}

bool is_integer(GgufType type) {
  return type != GgufType::f32 && type != GgufType::f64 && type != GgufType::boolean &&
         type != GgufType::string;
}
bool is_number(GgufType type) {
  return type != GgufType::boolean && type != GgufType::string;
}

std::string kind(const GgufField& field) {
  if (!field.list) return std::string(to_string(field.type));
  return fmt::format("list of {} {}", field.count, to_string(field.type));
}

[[noreturn]] void mismatch(const fs::path& path, const GgufField& field, std::string_view wanted) {
  fail("{}: metadata '{}' is a {}, expected {}", path.string(), field.key, kind(field), wanted);
}

int64_t as_integer(const fs::path& path, const GgufField& field, uint64_t i) {
  int64_t out = 0;
  with_number(field, i, [&](auto value) {
    if constexpr (sizeof(value) == 8 && std::is_same_v<decltype(value), uint64_t>) {
      if (value > uint64_t{INT64_MAX})
        fail("{}: metadata '{}' is {}, too large", path.string(), field.key, value);
    }
    out = static_cast<int64_t>(value);
  });
  return out;
}

double as_number(const fs::path& path, const GgufField& field, uint64_t i) {
  double out = 0;
  with_number(field, i, [&](auto value) { out = static_cast<double>(value); });
  if (!std::isfinite(out)) fail("{}: metadata '{}' is not a finite number", path.string(), field.key);
  return out;
}

}  // namespace

std::string_view to_string(GgufType type) {
  constexpr std::string_view kNames[] = {"u8",   "i8",     "u16",   "i16", "u32", "i32", "f32",
                                         "bool", "string", "array", "u64", "i64", "f64"};
  return kNames[static_cast<size_t>(type)];
}

const GgufField& GgufFile::expect(std::string_view key, bool list, std::string_view wanted) const {
  const GgufField* field = find_field(key);
  if (field == nullptr) fail("{}: metadata '{}' is missing; expected {}", path().string(), key, wanted);
  if (field->list != list) mismatch(path(), *field, wanted);
  return *field;
}

int64_t GgufFile::integer(std::string_view key, int64_t least, int64_t most) const {
  const GgufField& field = expect(key, false, "an integer");
  if (!is_integer(field.type)) mismatch(path(), field, "an integer");
  const int64_t value = as_integer(path(), field, 0);
  if (value < least || value > most) {
    fail("{}: metadata '{}' is {}, expected {} to {}", path().string(), key, value, least, most);
  }
  return value;
}

double GgufFile::number(std::string_view key) const {
  const GgufField& field = expect(key, false, "a number");
  if (!is_number(field.type)) mismatch(path(), field, "a number");
  return as_number(path(), field, 0);
}

bool GgufFile::boolean(std::string_view key) const {
  const GgufField& field = expect(key, false, "a bool");
  if (field.type != GgufType::boolean) mismatch(path(), field, "a bool");
  return field.data[0] != std::byte{0};
}

std::string_view GgufFile::text(std::string_view key) const {
  const GgufField& field = expect(key, false, "a string");
  if (field.type != GgufType::string) mismatch(path(), field, "a string");
  const auto size = at<uint64_t>(field, 0);
  return {reinterpret_cast<const char*>(field.data.data()) + 8, size};
}

std::vector<int64_t> GgufFile::integers(std::string_view key) const {
  const GgufField& field = expect(key, true, "a list of integers");
  if (!is_integer(field.type)) mismatch(path(), field, "a list of integers");
  std::vector<int64_t> out(field.count);
  for (uint64_t i = 0; i < field.count; ++i) out[i] = as_integer(path(), field, i);
  return out;
}

std::vector<float> GgufFile::numbers(std::string_view key) const {
  const GgufField& field = expect(key, true, "a list of numbers");
  if (!is_number(field.type)) mismatch(path(), field, "a list of numbers");
  std::vector<float> out(field.count);
  for (uint64_t i = 0; i < field.count; ++i) out[i] = static_cast<float>(as_number(path(), field, i));
  return out;
}

std::vector<std::string_view> GgufFile::texts(std::string_view key) const {
  const GgufField& field = expect(key, true, "a list of strings");
  if (field.type != GgufType::string) mismatch(path(), field, "a list of strings");
  std::vector<std::string_view> out;
  out.reserve(field.count);
  for (size_t position = 0; out.size() < field.count;) {  // lengths were checked on reading
    uint64_t size;
    std::memcpy(&size, field.data.data() + position, 8);
    out.emplace_back(reinterpret_cast<const char*>(field.data.data()) + position + 8, size);
    position += 8 + size;
  }
  return out;
}

}  // namespace frugal
