// Reading GGUF; the layout is that of ggml's docs/gguf.md. Refused although the format allows it: tensor
// types without a Format, lists of lists, alignments below 8.
#include "io/gguf.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <numeric>

#include "core/error.h"
#include "core/utf8.h"

namespace frugal {
namespace {

static_assert(std::endian::native == std::endian::little, "tensor data is used in place");

constexpr uint64_t kDefaultAlignment = 32, kMaxAlignment = 1 << 16;
constexpr uint64_t kMaxName = 65535;  // bytes of a key, as documented; of a tensor's name as well
constexpr uint32_t kMaxDims = 4;
// The smallest that a key with its value, a tensor's description take.
constexpr uint64_t kLeastField = 8 + 1 + 4 + 1, kLeastTensor = 8 + 1 + 4 + 8 + 4 + 8;
constexpr std::string_view kAlignmentKey = "general.alignment";

// A name from a hostile file as part of a message: short, and nothing a terminal would act on.
std::string shown(std::string_view name) {
  constexpr size_t kLongest = 80;
  std::string out(name.substr(0, valid_utf8_prefix(name.substr(0, kLongest))));
  if (out.size() < name.size()) out += "...";
  for (char& c : out) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
  }
  return out;
}

uint64_t size_of(GgufType type) {  // 0 for strings and arrays
  switch (type) {
    case GgufType::u8:
    case GgufType::i8:
    case GgufType::boolean:
      return 1;
    case GgufType::u16:
    case GgufType::i16:
      return 2;
    case GgufType::u32:
    case GgufType::i32:
    case GgufType::f32:
      return 4;
    case GgufType::u64:
    case GgufType::i64:
    case GgufType::f64:
      return 8;
    default:
      return 0;
  }
}

// Reads the file from front to back; every length is held against what is left.
class Cursor {
 public:
  Cursor(std::span<const std::byte> bytes, std::string path) : bytes_(bytes), path_(std::move(path)) {}

  uint64_t position() const { return at_; }
  uint64_t left() const { return bytes_.size() - at_; }
  const std::string& path() const { return path_; }

  std::span<const std::byte> take(uint64_t size, std::string_view where) {
    if (size > left()) {
      fail("{}: {} goes {} bytes beyond the end of the file; it may be truncated", path_, where,
           size - left());
    }
    const auto out = bytes_.subspan(at_, size);
    at_ += size;
    return out;
  }
  template <class T>
  T number(std::string_view where) {
    T value;
    std::memcpy(&value, take(sizeof(T), where).data(), sizeof(T));
    return value;
  }
  std::string_view string(std::string_view where) {
    const auto size = number<uint64_t>(where);
    const auto bytes = take(size, where);
    const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    if (valid_utf8_prefix(text) != text.size()) fail("{}: {} is not valid UTF-8", path_, where);
    return text;
  }
  std::string name(std::string_view where) {
    const std::string_view text = string(where);
    if (text.empty()) fail("{}: {} is empty", path_, where);
    if (text.size() > kMaxName)
      fail("{}: {} has {} bytes, at most {} are allowed", path_, where, text.size(), kMaxName);
    return std::string(text);
  }

 private:
  std::span<const std::byte> bytes_;
  uint64_t at_ = 0;
  std::string path_;
};

struct Header {
  uint64_t tensors, fields;
};

Header read_header(Cursor& in) {
  constexpr uint64_t kHeader = 4 + 4 + 8 + 8;
  if (in.left() < kHeader) fail("{}: not a GGUF file: {} bytes", in.path(), in.left());
  if (std::memcmp(in.take(4, "").data(), "GGUF", 4) != 0) fail("{}: not a GGUF file", in.path());
  const auto version = in.number<uint32_t>("");
  if ((version & 0xffff) == 0) fail("{}: big-endian GGUF is not supported", in.path());
  if (version != 2 && version != 3) {
    fail("{}: GGUF version {} is not supported; expected 2 or 3", in.path(), version);
  }
  const auto tensors = in.number<uint64_t>(""), fields = in.number<uint64_t>("");
  if (tensors > in.left() / kLeastTensor || fields > in.left() / kLeastField) {
    fail("{}: {} tensors and {} metadata keys are announced, more than the file's {} bytes could describe",
         in.path(), tensors, fields, in.left() + kHeader);
  }
  return {tensors, fields};
}

GgufType read_type(Cursor& in, const std::string& where) {
  const auto number = in.number<uint32_t>(where);
  if (number > static_cast<uint32_t>(GgufType::f64)) {
    fail("{}: {} has the unknown type {}", in.path(), where, number);
  }
  return static_cast<GgufType>(number);
}

// The bytes of `count` values of a type.
std::span<const std::byte> read_values(Cursor& in, GgufType type, uint64_t count, const std::string& where) {
  if (type != GgufType::string) {
    const uint64_t size = size_of(type);
    if (count > in.left() / size) {
      fail("{}: {} has {} values, more than fit into the file; it may be truncated", in.path(), where, count);
    }
    const auto data = in.take(count * size, where);
    if (type == GgufType::boolean) {
      for (const std::byte b : data) {
        if (b > std::byte{1})
          fail("{}: {} holds {} where 0 or 1 belongs", in.path(), where, static_cast<int>(b));
      }
    }
    return data;
  }
  Cursor begin = in;
  const uint64_t start = in.position();
  for (uint64_t i = 0; i < count; ++i)
    in.string(where);  // each takes 8 bytes: a lie in `count` ends at the end
  return begin.take(in.position() - start, where);
}

GgufField read_field(Cursor& in, uint64_t number) {
  GgufField field;
  field.key = in.name(fmt::format("the name of metadata key {}", number));
  const std::string where = fmt::format("metadata '{}'", shown(field.key));
  field.type = read_type(in, where);
  if (field.type == GgufType::array) {
    field.list = true;
    field.type = read_type(in, where);
    if (field.type == GgufType::array) fail("{}: {} is a list of lists", in.path(), where);
    field.count = in.number<uint64_t>(where);
  }
  field.data = read_values(in, field.type, field.count, where);
  return field;
}

uint64_t read_alignment(const GgufField* field, const std::string& path) {
  if (field == nullptr) return kDefaultAlignment;
  uint32_t value = 0;
  if (field->list || field->type != GgufType::u32) fail("{}: {} is not a u32", path, kAlignmentKey);
  std::memcpy(&value, field->data.data(), 4);
  if (!std::has_single_bit(value) || value < 8 || value > kMaxAlignment) {
    fail("{}: {} is {}; expected a power of two from 8 to {}", path, kAlignmentKey, value, kMaxAlignment);
  }
  return value;
}

struct Placed {
  GgufEntry entry;
  uint64_t begin = 0, bytes = 0;  // in the data section
};

const Format& format_of(uint32_t type, const std::string& where) {
  if (const Format* format = find_ggml_format(type)) return *format;
  std::string known;
  for (const Format* format : all_formats()) {
    if (format->ggml < 0) continue;
    known += fmt::format("{}{} ({})", known.empty() ? "" : ", ", format->name, format->ggml);
  }
  fail("{}: its number format, GGUF type {}, is not supported; known: {}", where, type, known);
}

Placed read_tensor(Cursor& in, uint64_t number, uint64_t alignment) {
  Placed tensor;
  tensor.entry.name = in.name(fmt::format("the name of tensor {}", number));
  const std::string name = fmt::format("tensor '{}'", shown(tensor.entry.name));
  const std::string where = fmt::format("{}: {}", in.path(), name);
  const auto dims = in.number<uint32_t>(name);
  if (dims < 1 || dims > kMaxDims) fail("{}: {} dimensions; expected 1 to {}", where, dims, kMaxDims);
  int64_t values = 1;
  for (uint32_t i = 0; i < dims; ++i) {
    const auto size = in.number<uint64_t>(name);
    if (size == 0 || size > uint64_t{INT64_MAX}) fail("{}: dimension {} is {}", where, i, size);
    if (__builtin_mul_overflow(values, static_cast<int64_t>(size), &values)) {
      fail("{}: its dimensions overflow", where);
    }
    tensor.entry.shape.push_back(static_cast<int64_t>(size));
  }
  std::reverse(tensor.entry.shape.begin(), tensor.entry.shape.end());  // the file has the innermost first
  const Format& format = format_of(in.number<uint32_t>(name), where);
  tensor.entry.format = &format;
  if (tensor.entry.shape.back() % format.block != 0) {
    fail("{}: rows of {} values are no whole blocks of {} ({})", where, tensor.entry.shape.back(),
         format.block, format.name);
  }
  int64_t bytes = 0;
  if (__builtin_mul_overflow(values / format.block, format.block_bytes, &bytes)) {
    fail("{}: its dimensions overflow", where);
  }
  tensor.bytes = static_cast<uint64_t>(bytes);
  tensor.begin = in.number<uint64_t>(name);
  if (tensor.begin % alignment != 0) {
    fail("{}: offset {} is not a multiple of the alignment {}", where, tensor.begin, alignment);
  }
  return tensor;
}

void check_placement(std::span<const Placed> tensors, uint64_t data_size, const std::string& path) {
  std::vector<const Placed*> order;
  for (const Placed& tensor : tensors) {
    if (tensor.begin > data_size || tensor.bytes > data_size - tensor.begin) {
      fail("{}: tensor '{}' ({} bytes at {}) goes beyond the file's {} bytes of data; it may be truncated",
           path, shown(tensor.entry.name), tensor.bytes, tensor.begin, data_size);
    }
    order.push_back(&tensor);
  }
  std::sort(order.begin(), order.end(), [](const Placed* a, const Placed* b) { return a->begin < b->begin; });
  for (size_t i = 1; i < order.size(); ++i) {
    const Placed &before = *order[i - 1], &after = *order[i];
    if (before.begin + before.bytes > after.begin) {
      fail("{}: tensors '{}' and '{}' overlap", path, shown(before.entry.name), shown(after.entry.name));
    }
  }
}

// Positions of `list` in the order of their names; Error when two are equal.
template <class T>
std::vector<size_t> by_name(const std::vector<T>& list, std::string T::*name, std::string_view kind,
                            const std::string& path) {
  std::vector<size_t> order(list.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return list[a].*name < list[b].*name; });
  for (size_t i = 1; i < order.size(); ++i) {
    if (list[order[i]].*name == list[order[i - 1]].*name) {
      fail("{}: {} '{}' appears twice", path, kind, shown(list[order[i]].*name));
    }
  }
  return order;
}

template <class T>
const T* lookup(const std::vector<T>& list, const std::vector<size_t>& order, std::string T::*name,
                std::string_view wanted) {
  const auto it = std::lower_bound(order.begin(), order.end(), wanted,
                                   [&](size_t i, std::string_view w) { return list[i].*name < w; });
  return it != order.end() && list[*it].*name == wanted ? &list[*it] : nullptr;
}

}  // namespace

GgufFile::GgufFile(const fs::path& file_path) : map_(std::make_shared<const MappedFile>(file_path)) {
  Cursor in(map_->bytes(), file_path.string());
  const Header header = read_header(in);
  for (uint64_t i = 0; i < header.fields; ++i) fields_.push_back(read_field(in, i));
  fields_by_key_ = by_name(fields_, &GgufField::key, "metadata key", in.path());

  const uint64_t alignment = read_alignment(find_field(kAlignmentKey), in.path());
  std::vector<Placed> tensors;
  for (uint64_t i = 0; i < header.tensors; ++i) tensors.push_back(read_tensor(in, i, alignment));
  const uint64_t padding = (alignment - in.position() % alignment) % alignment;
  in.take(std::min(padding, in.left()), "padding");  // may be missing where there are no tensors
  const auto data = map_->bytes().subspan(in.position());
  check_placement(tensors, data.size(), in.path());
  for (Placed& tensor : tensors) {
    tensor.entry.data = data.subspan(tensor.begin, tensor.bytes);
    tensor.entry.file = map_;
    entries_.push_back(std::move(tensor.entry));
  }
  entries_by_name_ = by_name(entries_, &GgufEntry::name, "tensor", in.path());
}

const GgufEntry* GgufFile::find(std::string_view name) const {
  return lookup(entries_, entries_by_name_, &GgufEntry::name, name);
}

const GgufField* GgufFile::find_field(std::string_view key) const {
  return lookup(fields_, fields_by_key_, &GgufField::key, key);
}

}  // namespace frugal
