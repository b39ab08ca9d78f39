// Reading and writing of safetensors; the header's rules are those of the reference implementation
// (huggingface safetensors, `SafeTensors::read_metadata`): at most 100 MB, offsets contiguous from 0 to the
// end of the file.
#include "io/safetensors.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <unordered_set>

#include "core/error.h"
#include "core/json.h"

namespace frugal {
namespace {

static_assert(std::endian::native == std::endian::little, "tensor data is used in place");

constexpr uint64_t kMaxHeader = 100'000'000;
constexpr const char* kMetadataKey = "__metadata__";

struct Dtype {
  std::string_view name;
  int bits;
};
constexpr std::array kDtypes = {
    Dtype{"F32", 32},    Dtype{"BF16", 16},   Dtype{"F16", 16},        Dtype{"F8_E4M3", 8},
    Dtype{"F8_E5M2", 8}, Dtype{"F8_E8M0", 8}, Dtype{"F8_E4M3FNUZ", 8}, Dtype{"F8_E5M2FNUZ", 8},
    Dtype{"F4", 4},      Dtype{"F6_E2M3", 6}, Dtype{"F6_E3M2", 6},     Dtype{"F64", 64},
    Dtype{"I64", 64},    Dtype{"I32", 32},    Dtype{"I16", 16},        Dtype{"I8", 8},
    Dtype{"U64", 64},    Dtype{"U32", 32},    Dtype{"U16", 16},        Dtype{"U8", 8},
    Dtype{"BOOL", 8},    Dtype{"C64", 64},
};

// Plain nlohmann::json (a sorted map): the project's ordered Json searches linearly, and an index has 10^5
// keys.
using Header = nlohmann::json;

// Parses an object of depth at most `max_depth`, refusing duplicate keys, which JSON parsers silently drop.
Header parse_header(std::string_view text, const std::string& where, int max_depth) {
  // The parser takes a NUL byte for the end of the text, and would ignore what follows.
  if (text.find('\0') != std::string_view::npos) fail("{}: the JSON header contains a NUL byte", where);
  std::vector<std::unordered_set<std::string>> keys(static_cast<size_t>(max_depth) + 2);
  const auto watch = [&](int depth, nlohmann::json::parse_event_t event, Header& value) {
    using Event = nlohmann::json::parse_event_t;
    if (event == Event::object_start || event == Event::array_start) {
      if (depth >= max_depth) fail("{}: JSON nested deeper than {} levels", where, max_depth);
      keys[static_cast<size_t>(depth) + 1].clear();
    } else if (event == Event::key) {
      const auto& key = value.get_ref<const std::string&>();
      if (!keys[static_cast<size_t>(depth)].insert(key).second) fail("{}: '{}' appears twice", where, key);
    }
    return true;
  };
  Header header;
  try {
    header = Header::parse(text, watch);
  } catch (const nlohmann::json::exception& error) {
    std::string_view reason = error.what();
    if (const auto at = reason.find("] "); at != std::string_view::npos) reason.remove_prefix(at + 2);
    fail("{}: the header is not valid JSON: {}", where, reason);
  }
  if (!header.is_object()) fail("{}: the header is not a JSON object", where);
  return header;
}

std::optional<uint64_t> bytes_of(std::span<const int64_t> shape, int bits) {
  uint64_t total = static_cast<uint64_t>(bits);
  for (const int64_t size : shape) {
    if (size < 0 || __builtin_mul_overflow(total, static_cast<uint64_t>(size), &total)) return std::nullopt;
  }
  if (total % 8 != 0) return std::nullopt;
  return total / 8;
}

int known_bits(std::string_view dtype, const std::string& where) {
  const int bits = safetensors_dtype_bits(dtype);
  if (bits != 0) return bits;
  std::string names;
  for (const auto& d : kDtypes) names += (names.empty() ? "" : ", ") + std::string(d.name);
  fail("{}: unknown dtype '{}'; known: {}", where, dtype, names);
}

std::string text_of(std::span<const int64_t> shape) {
  std::string text;
  for (const int64_t size : shape) text += (text.empty() ? "" : ", ") + std::to_string(size);
  return "(" + text + ")";
}

struct Range {
  uint64_t begin, end;
};

// One tensor of the header; its data still unset.
SafetensorsEntry read_entry(const std::string& name, const Header& json, const std::string& path,
                            uint64_t data_size, Range& range) {
  const std::string where = fmt::format("{}: tensor '{}'", path, name);
  if (!json.is_object()) fail("{}: expected an object with dtype, shape and data_offsets", where);
  for (const auto& [key, value] : json.items()) {
    if (key != "dtype" && key != "shape" && key != "data_offsets") fail("{}: unknown key '{}'", where, key);
  }
  for (const char* key : {"dtype", "shape", "data_offsets"}) {
    if (!json.contains(key)) fail("{}: '{}' is missing", where, key);
  }
  SafetensorsEntry entry;
  entry.name = name;
  if (!json["dtype"].is_string()) fail("{}: dtype is not a string", where);
  entry.dtype = json["dtype"].get<std::string>();
  const int bits = known_bits(entry.dtype, where);

  if (!json["shape"].is_array()) fail("{}: shape is not a list", where);
  for (const auto& size : json["shape"]) {
    if (!size.is_number_unsigned() || size.get<uint64_t>() > uint64_t{INT64_MAX}) {
      fail("{}: shape has {}, which is no size", where, size.dump());
    }
    entry.shape.push_back(size.get<int64_t>());
  }
  const auto& offsets = json["data_offsets"];
  if (!offsets.is_array() || offsets.size() != 2 || !offsets[0].is_number_unsigned() ||
      !offsets[1].is_number_unsigned()) {
    fail("{}: data_offsets is not a pair of offsets", where);
  }
  range = {offsets[0].get<uint64_t>(), offsets[1].get<uint64_t>()};
  if (range.begin > range.end || range.end > data_size) {
    fail("{}: data_offsets [{}, {}] lie outside the file's {} bytes of data; it may be truncated", where,
         range.begin, range.end, data_size);
  }
  const auto bytes = bytes_of(entry.shape, bits);
  if (!bytes) fail("{}: shape {} of {} has no possible size", where, text_of(entry.shape), entry.dtype);
  if (*bytes != range.end - range.begin) {
    fail("{}: shape {} of {} needs {} bytes, data_offsets span {}", where, text_of(entry.shape), entry.dtype,
         *bytes, range.end - range.begin);
  }
  return entry;
}

std::map<std::string, std::string> read_metadata(const Header& json, const std::string& path) {
  if (!json.is_object()) fail("{}: {} is not an object", path, kMetadataKey);
  std::map<std::string, std::string> metadata;
  for (const auto& [key, value] : json.items()) {
    if (!value.is_string()) fail("{}: {} value of '{}' is not a string", path, kMetadataKey, key);
    metadata[key] = value.get<std::string>();
  }
  return metadata;
}

const SafetensorsEntry* lookup(const std::unordered_map<std::string, size_t>& index,
                               const std::vector<SafetensorsEntry>& entries, std::string_view name) {
  const auto it = index.find(std::string(name));
  return it == index.end() ? nullptr : &entries[it->second];
}

}  // namespace

int safetensors_dtype_bits(std::string_view dtype) {
  for (const auto& d : kDtypes) {
    if (d.name == dtype) return d.bits;
  }
  return 0;
}

SafetensorsFile::SafetensorsFile(const fs::path& file_path) {
  const auto map = std::make_shared<const MappedFile>(file_path);
  const std::string path = file_path.string();
  const auto bytes = map->bytes();
  if (bytes.size() < 8) fail("{}: not a safetensors file: {} bytes", path, bytes.size());
  uint64_t header_size = 0;
  std::memcpy(&header_size, bytes.data(), 8);
  if (header_size > kMaxHeader) {
    fail("{}: not a safetensors file: it announces a header of {} bytes, at most {} are allowed", path,
         header_size, kMaxHeader);
  }
  if (header_size > bytes.size() - 8) {
    fail("{}: the header is announced as {} bytes but the file has {}; it may be truncated", path,
         header_size, bytes.size());
  }
  const auto data = bytes.subspan(8 + header_size);
  const Header header = parse_header(map->text().substr(8, header_size), path, 3);

  std::vector<std::pair<Range, SafetensorsEntry>> found;
  for (const auto& [name, value] : header.items()) {
    if (name == kMetadataKey) {
      metadata_ = read_metadata(value, path);
      continue;
    }
    Range range{};
    SafetensorsEntry entry = read_entry(name, value, path, data.size(), range);
    found.emplace_back(range, std::move(entry));
  }
  std::sort(found.begin(), found.end(), [](const auto& a, const auto& b) {
    return std::tie(a.first.begin, a.first.end, a.second.name) <
           std::tie(b.first.begin, b.first.end, b.second.name);
  });
  uint64_t covered = 0;
  for (auto& [range, entry] : found) {
    if (range.begin != covered) {
      fail("{}: tensor '{}' starts at {}, the data before it end at {}: {}", path, entry.name, range.begin,
           covered, range.begin < covered ? "they overlap" : "there is a hole");
    }
    covered = range.end;
    entry.data = data.subspan(range.begin, range.end - range.begin);
    entry.file = map;
    index_.emplace(entry.name, entries_.size());
    entries_.push_back(std::move(entry));
  }
  if (covered != data.size()) fail("{}: {} bytes after the last tensor", path, data.size() - covered);
}

const SafetensorsEntry* SafetensorsFile::find(std::string_view name) const {
  return lookup(index_, entries_, name);
}

SafetensorsDirectory::SafetensorsDirectory(const fs::path& directory) : directory_(directory) {
  std::error_code unreadable;  // the opening that follows says why
  if (!fs::is_directory(directory, unreadable)) fail("{}: no such model directory", directory.string());
  const fs::path single = directory / "model.safetensors",
                 sharded = directory / "model.safetensors.index.json";
  if (fs::exists(single, unreadable)) {
    const SafetensorsFile file(single);
    entries_.assign(file.entries().begin(), file.entries().end());
  } else if (fs::exists(sharded, unreadable)) {
    read_index(sharded);
  } else {
    fail("{}: no weights: expected model.safetensors or model.safetensors.index.json", directory.string());
  }
  for (size_t i = 0; i < entries_.size(); ++i) index_.emplace(entries_[i].name, i);
}

void SafetensorsDirectory::read_index(const fs::path& index_path) {
  const std::string path = index_path.string();
  const Header json = parse_header(read_file(index_path), path, 16);
  if (!json.contains("weight_map") || !json["weight_map"].is_object()) {
    fail("{}: expected a 'weight_map' from tensor names to files", path);
  }
  std::map<std::string, std::set<std::string>> shards;
  for (const auto& [name, value] : json["weight_map"].items()) {
    if (!value.is_string()) fail("{}: tensor '{}': the file name is not a string", path, name);
    const auto& shard = value.get_ref<const std::string&>();
    // A downloaded index must not reach files outside its directory.
    if (shard.empty() || shard == "." || shard == ".." || shard.find('/') != std::string::npos) {
      fail("{}: tensor '{}': '{}' is not a file name in this directory", path, name, shard);
    }
    shards[shard].insert(name);
  }
  for (auto& [shard, names] : shards) {
    std::error_code unreadable;
    if (!fs::exists(directory_ / shard, unreadable)) {
      fail("{}: shard {} is missing; it holds {} tensors, the first '{}'", path, shard, names.size(),
           *names.begin());
    }
    const SafetensorsFile file(directory_ / shard);
    for (const auto& entry : file.entries()) {
      if (names.erase(entry.name) != 0) entries_.push_back(entry);
    }
    if (!names.empty())
      fail("{}: tensor '{}' is not in {}, where the index has it", path, *names.begin(), shard);
  }
}

const SafetensorsEntry* SafetensorsDirectory::find(std::string_view name) const {
  return lookup(index_, entries_, name);
}

SafetensorsWriter::SafetensorsWriter(const fs::path& path, std::vector<SafetensorsDeclaration> tensors,
                                     const std::map<std::string, std::string>& metadata)
    : file_(path), tensors_(std::move(tensors)) {
  std::stable_sort(tensors_.begin(), tensors_.end(), [](const auto& a, const auto& b) {
    return safetensors_dtype_bits(a.dtype) > safetensors_dtype_bits(b.dtype);
  });
  // Written by hand, not built as a Json: its linear key search is quadratic over many tensors.
  std::string header = "{";
  if (!metadata.empty()) header += fmt::format("\"{}\":{}", kMetadataKey, to_text(Json(metadata)));
  std::unordered_set<std::string> names;
  uint64_t offset = 0;
  for (const auto& tensor : tensors_) {
    const std::string where = fmt::format("{}: tensor '{}'", path.string(), tensor.name);
    if (tensor.name == kMetadataKey || !names.insert(tensor.name).second)
      fail("{}: the name is taken", where);
    const auto bytes = bytes_of(tensor.shape, known_bits(tensor.dtype, where));
    if (!bytes) fail("{}: shape {} of {} has no possible size", where, text_of(tensor.shape), tensor.dtype);
    sizes_.push_back(*bytes);
    if (header.size() > 1) header += ',';
    header += fmt::format("{}:{{\"dtype\":\"{}\",\"shape\":{},\"data_offsets\":[{},{}]}}",
                          to_text(Json(tensor.name)), tensor.dtype, to_text(Json(tensor.shape)), offset,
                          offset + *bytes);
    offset += *bytes;
  }
  header += '}';
  header.resize((header.size() + 7) / 8 * 8, ' ');
  if (header.size() > kMaxHeader)
    fail("{}: {} tensors make too large a header", path.string(), tensors_.size());
  const uint64_t header_size = header.size();
  file_.write(&header_size, 8);
  file_.write(header);
  skip_complete();
}

void SafetensorsWriter::skip_complete() {
  while (current_ < sizes_.size() && written_ == sizes_[current_]) {
    ++current_;
    written_ = 0;
  }
}

void SafetensorsWriter::write(std::string_view name, std::span<const std::byte> data) {
  if (data.empty()) return;
  CHECK(current_ < tensors_.size(), "'{}' after the last tensor", name);
  CHECK(tensors_[current_].name == name, "'{}' out of order: next is '{}'", name, tensors_[current_].name);
  CHECK(data.size() <= sizes_[current_] - written_, "'{}' has {} bytes, got more", name, sizes_[current_]);
  constexpr size_t kPiece = size_t{1} << 20;  // AtomicFile buffers a whole call
  for (size_t at = 0; at < data.size(); at += kPiece) {
    file_.write(data.data() + at, std::min(kPiece, data.size() - at));
  }
  written_ += data.size();
  skip_complete();
}

void SafetensorsWriter::commit() {
  CHECK(current_ == tensors_.size(), "'{}' is incomplete", tensors_[current_].name);
  file_.commit();
}

}  // namespace frugal
