#include "io/gguf_writer.h"

#include <algorithm>
#include <unordered_set>

#include "core/error.h"
#include "core/utf8.h"

namespace frugal {
namespace {

constexpr uint64_t kAlignment = 32;         // the default, so no key has to say so
constexpr size_t kMaxTensorName = 63;       // ggml keeps 64 bytes with the final zero
constexpr size_t kPiece = size_t{1} << 20;  // AtomicFile buffers a whole call

template <class T>
void append(std::string& out, T value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof(T));
}

void append_string(std::string& out, std::string_view text) {
  append(out, uint64_t{text.size()});
  out += text;
}

uint64_t byte_count(const GgufDeclaration& tensor) {
  int64_t values = 1;
  for (const int64_t size : tensor.shape) values *= size;
  return static_cast<uint64_t>(tensor.format->bytes(values));
}

uint64_t padded(uint64_t size) {
  return (size + kAlignment - 1) / kAlignment * kAlignment;
}

void check(const GgufDeclaration& tensor, const std::string& path) {
  const std::string where = fmt::format("{}: tensor '{}'", path, tensor.name);
  if (tensor.name.empty() || tensor.name.size() > kMaxTensorName) {
    fail("{}: the name has {} bytes; GGUF takes 1 to {}", where, tensor.name.size(), kMaxTensorName);
  }
  CHECK(tensor.format != nullptr);
  if (tensor.format->ggml < 0) fail("{}: GGUF does not have the format {}", where, tensor.format->name);
  if (tensor.shape.empty() || tensor.shape.size() > 4) {
    fail("{}: {} dimensions; GGUF takes 1 to 4", where, tensor.shape.size());
  }
  int64_t values = 1;
  for (const int64_t size : tensor.shape) {
    if (size <= 0 || __builtin_mul_overflow(values, size, &values) || values > INT64_MAX / 8) {
      fail("{}: a dimension of {}", where, size);
    }
  }
  if (tensor.shape.back() % tensor.format->block != 0) {
    fail("{}: rows of {} values are no whole blocks of {} ({})", where, tensor.shape.back(),
         tensor.format->block, tensor.format->name);
  }
}

std::string describe(std::span<const GgufDeclaration> tensors) {
  std::string out;
  uint64_t offset = 0;
  for (const GgufDeclaration& tensor : tensors) {
    append_string(out, tensor.name);
    append(out, static_cast<uint32_t>(tensor.shape.size()));
    for (auto size = tensor.shape.rbegin(); size != tensor.shape.rend(); ++size) append(out, *size);
    append(out, static_cast<uint32_t>(tensor.format->ggml));
    append(out, offset);
    offset += padded(byte_count(tensor));
  }
  return out;
}

}  // namespace

void GgufMetadata::add(std::string_view key, std::string_view text) {
  std::string data;
  append_string(data, text);
  add_field({std::string(key), GgufType::string, false, 1, std::as_bytes(std::span(data))});
}

void GgufMetadata::add(std::string_view key, std::span<const std::string> list) {
  add(key, std::span<const std::string_view>(std::vector<std::string_view>(list.begin(), list.end())));
}

void GgufMetadata::add(std::string_view key, std::span<const std::string_view> list) {
  std::string data;
  for (const std::string_view text : list) {
    if (valid_utf8_prefix(text) != text.size()) fail("metadata '{}': a text is not valid UTF-8", key);
    append_string(data, text);
  }
  add_field({std::string(key), GgufType::string, true, list.size(), std::as_bytes(std::span(data))});
}

void GgufMetadata::add_all(const GgufMetadata& other) {
  for (const std::string& key : other.keys_) {
    const auto at = std::lower_bound(keys_.begin(), keys_.end(), key);
    if (at != keys_.end() && *at == key) fail("metadata '{}' is given twice", key);
    keys_.insert(at, key);
  }
  bytes_ += other.bytes_;
}

void GgufMetadata::copy(const GgufField& field) {
  if (field.key != "general.alignment") add_field(field);
}

void GgufMetadata::add_field(const GgufField& field) {
  const auto at = std::lower_bound(keys_.begin(), keys_.end(), field.key);
  if (at != keys_.end() && *at == field.key) fail("metadata '{}' is given twice", field.key);
  if (field.key.empty() || field.key.size() > 65535) fail("a metadata key of {} bytes", field.key.size());
  const std::string_view data(reinterpret_cast<const char*>(field.data.data()), field.data.size());
  const bool text = field.type == GgufType::string && !field.list;
  if (valid_utf8_prefix(field.key) != field.key.size() ||
      (text && valid_utf8_prefix(data.substr(8)) != data.size() - 8)) {
    fail("metadata '{}' is not valid UTF-8", field.key);
  }
  keys_.insert(at, field.key);
  append_string(bytes_, field.key);
  if (field.list) {
    append(bytes_, static_cast<uint32_t>(GgufType::array));
    append(bytes_, static_cast<uint32_t>(field.type));
    append(bytes_, field.count);
  } else {
    append(bytes_, static_cast<uint32_t>(field.type));
  }
  bytes_ += data;
}

GgufWriter::GgufWriter(const fs::path& path, const GgufMetadata& metadata,
                       std::vector<GgufDeclaration> tensors)
    : file_(path), tensors_(std::move(tensors)) {
  std::unordered_set<std::string_view> names;
  for (const GgufDeclaration& tensor : tensors_) {
    check(tensor, path.string());
    if (!names.insert(tensor.name).second) fail("{}: tensor '{}' is given twice", path.string(), tensor.name);
  }
  std::string header = "GGUF";
  append(header, uint32_t{3});
  append(header, uint64_t{tensors_.size()});
  append(header, metadata.count());
  header += metadata.bytes();
  header += describe(tensors_);
  file_.write(header);
  pad(header.size());
}

void GgufWriter::pad(uint64_t written) {
  file_.write(std::string(padded(written) - written, '\0'));
}

void GgufWriter::write(std::string_view name, std::span<const std::byte> data) {
  if (data.empty()) return;
  CHECK(current_ < tensors_.size(), "'{}' after the last tensor", name);
  CHECK(tensors_[current_].name == name, "'{}' out of order: next is '{}'", name, tensors_[current_].name);
  const uint64_t size = byte_count(tensors_[current_]);
  CHECK(data.size() <= size - written_, "'{}' has {} bytes, got more", name, size);
  for (size_t at = 0; at < data.size(); at += kPiece) {
    file_.write(data.data() + at, std::min(kPiece, data.size() - at));
  }
  written_ += data.size();
  if (written_ == size) {
    pad(size);  // after the last tensor as well: ggml reads whole alignments
    ++current_;
    written_ = 0;
  }
}

void GgufWriter::commit() {
  CHECK(current_ == tensors_.size(), "'{}' is incomplete", tensors_[current_].name);
  file_.commit();
}

}  // namespace frugal
