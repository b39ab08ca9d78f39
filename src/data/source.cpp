#include "data/source.h"

#include <glob.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>

#include "core/error.h"
#include "core/json.h"
#include "core/utf8.h"
#include "data/byte_reader.h"

namespace frugal {
namespace {

namespace fs = std::filesystem;
constexpr size_t kChunk = 1 << 17;  // bytes asked of the file at a time
constexpr size_t kMaxLine = size_t{256} << 20;
constexpr std::string_view kKinds = ".txt or .jsonl, also with .gz or .zst";

enum class Kind { text, json_lines, unknown };

Kind kind_of(const fs::path& path) {
  fs::path name = path.filename();
  if (name.extension() == ".gz" || name.extension() == ".zst") name = name.stem();
  if (name.extension() == ".txt") return Kind::text;
  if (name.extension() == ".jsonl") return Kind::json_lines;
  return Kind::unknown;
}

bool has_glob_characters(std::string_view pattern) {
  return pattern.find_first_of("*?[{") != std::string_view::npos;
}

std::vector<std::string> glob_files(const std::string& pattern) {
  glob_t found{};
  std::vector<std::string> files;
  if (::glob(pattern.c_str(), GLOB_BRACE, nullptr, &found) == 0) {
    for (size_t i = 0; i < found.gl_pathc; ++i) {
      std::error_code error;
      if (!fs::is_directory(found.gl_pathv[i], error)) files.emplace_back(found.gl_pathv[i]);
    }
  }
  ::globfree(&found);
  return files;
}

}  // namespace

InvalidUtf8 parse_invalid_utf8(std::string_view text, std::string_view where) {
  if (text == "error") return InvalidUtf8::error;
  if (text == "replace") return InvalidUtf8::replace;
  fail_usage("{}: expected \"error\" or \"replace\", found \"{}\"", where, text);
}

std::vector<std::string> expand_pattern(const std::string& pattern, std::string_view where) {
  std::error_code error;
  std::vector<std::string> files;
  if (fs::is_directory(pattern, error)) {
    for (const auto& entry : fs::recursive_directory_iterator(pattern, error)) {
      if (entry.is_regular_file(error) && kind_of(entry.path()) != Kind::unknown)
        files.push_back(entry.path().string());
    }
    if (files.empty()) fail("{}: no file below the folder '{}' is {}", where, pattern, kKinds);
  } else if (fs::exists(pattern, error) || !has_glob_characters(pattern)) {
    if (!fs::exists(pattern, error)) fail("{}: no such file: '{}'", where, pattern);
    files.push_back(pattern);
  } else {
    files = glob_files(pattern);
    if (files.empty()) fail("{}: no file matches '{}'", where, pattern);
  }
  for (const auto& file : files) {
    if (kind_of(file) == Kind::unknown)
      fail("{}: '{}': unknown kind of file, expected {}", where, file, kKinds);
  }
  std::sort(files.begin(), files.end());
  return files;
}

std::vector<std::string> expand_patterns(const std::vector<std::string>& patterns, std::string_view where) {
  std::vector<std::string> files;
  std::set<fs::path> seen;
  for (const auto& pattern : patterns) {
    for (auto& file : expand_pattern(pattern, where)) {
      if (seen.insert(fs::weakly_canonical(file)).second) files.push_back(std::move(file));
    }
  }
  return files;
}

int64_t Document::bytes() const {
  size_t sum = text.size();
  for (const auto& message : messages) sum += message.content.size();
  return static_cast<int64_t>(sum);
}

bool Document::blank() const {
  const auto is_blank = [](const std::string& s) {
    return s.find_first_not_of(" \t\r\n\f\v") == std::string::npos;
  };
  return is_blank(text) &&
         std::all_of(messages.begin(), messages.end(), [&](const auto& m) { return is_blank(m.content); });
}

RecordReader::RecordReader(std::vector<std::string> files, ReadOptions options)
    : files_(std::move(files)), options_(options) {
  CHECK(options_.section_bytes > 0);
}
RecordReader::~RecordReader() = default;

int64_t RecordReader::consumed() const {
  return finished_bytes_ + (reader_ ? reader_->consumed() : 0);
}

bool RecordReader::next(Record& record) {
  for (;;) {
    if (!reader_ && !open_next()) return false;
    if (json_ ? next_line(record) : next_section(record)) {
      record.file = files_[file_];
      record.json = json_;
      ++records_;
      return true;
    }
    if (records_ == 0) fail("{}: the file is empty", files_[file_]);
    finished_bytes_ += reader_->consumed();
    reader_.reset();
    ++file_;
  }
}

bool RecordReader::open_next() {
  if (file_ == files_.size()) return false;
  reader_ = open_bytes(files_[file_]);
  json_ = kind_of(files_[file_]) == Kind::json_lines;
  buffer_.clear();
  begin_ = 0;
  at_end_ = false;
  line_ = 1;
  records_ = 0;
  fill(1 << 12);
  check_text(buffer_, line_);
  if (buffer_.starts_with("\xEF\xBB\xBF")) begin_ = 3;  // byte order mark
  return true;
}

// Reads until `bytes` unused bytes are in the buffer, or the file ends.
void RecordReader::fill(size_t bytes) {
  if (begin_ > 0 && !at_end_) {
    buffer_.erase(0, begin_);
    begin_ = 0;
  }
  while (!at_end_ && buffer_.size() - begin_ < bytes) {
    const size_t old = buffer_.size();
    buffer_.resize(old + kChunk);
    const size_t n = reader_->read(buffer_.data() + old, kChunk);
    buffer_.resize(old + n);
    at_end_ = n == 0;
    if (const void* nul = std::memchr(buffer_.data() + old, 0, n)) {
      const auto end = static_cast<const char*>(nul);
      const auto line = line_ + std::count(static_cast<const char*>(buffer_.data()) + begin_, end, '\n');
      fail("{}:{}: a NUL byte: the file is binary, or text in another encoding; convert it to UTF-8",
           files_[file_], line);
    }
  }
}

// Control characters other than white space and escape are rare in text.
void RecordReader::check_text(std::string_view bytes, int64_t line) const {
  const auto odd = std::count_if(bytes.begin(), bytes.end(), [](unsigned char c) {
    return (c < 32 && !(c >= 8 && c <= 13) && c != 27) || c == 127;
  });
  size_t invalid = 0;
  for (auto rest = bytes; !rest.empty() && rest.size() > 4;) {
    const size_t good = valid_utf8_prefix(rest);
    rest.remove_prefix(std::min(rest.size(), good + 1));
    invalid += rest.size() > 4 || good == 0;
  }
  if (static_cast<size_t>(odd) * 20 > bytes.size() || invalid * 3 > bytes.size()) {
    fail(
        "{}:{}: this is not UTF-8 text (binary, another encoding, or compressed without .gz or .zst in its "
        "name)",
        files_[file_], line);
  }
}

bool RecordReader::next_line(Record& record) {
  for (;;) {
    size_t end = buffer_.find('\n', begin_);
    while (end == std::string::npos && !at_end_) {
      const size_t have = buffer_.size() - begin_;
      if (have > kMaxLine) fail("{}:{}: a line longer than {} MiB", files_[file_], line_, kMaxLine >> 20);
      fill(have + 1);
      end = buffer_.find('\n', begin_ + have);
    }
    if (end == std::string::npos) end = buffer_.size();
    if (begin_ == buffer_.size()) return false;
    std::string_view line = std::string_view(buffer_).substr(begin_, end - begin_);
    if (line.ends_with('\r')) line.remove_suffix(1);
    const bool blank = line.find_first_not_of(" \t") == std::string_view::npos;
    if (!blank) {
      record.body.assign(line);
      record.line = line_;
    }
    begin_ = std::min(end + 1, buffer_.size());
    ++line_;
    if (!blank) return true;
  }
}

// Where to end a section of at most `limit` of the bytes of `rest`, which has more: after the last paragraph,
// line or word that ends in the second half, else anywhere between characters.
static size_t section_end(std::string_view rest, size_t limit) {
  const std::string_view text = rest.substr(0, limit);
  for (const std::string_view mark : {"\n\n", "\n", " "}) {
    const size_t at = text.rfind(mark);
    if (at != std::string_view::npos && at + mark.size() > text.size() / 2) return at + mark.size();
  }
  size_t end = limit;
  while (end > 1 && limit - end < 3 && (static_cast<unsigned char>(rest[end]) & 0xC0) == 0x80) --end;
  return end;
}

bool RecordReader::next_section(Record& record) {
  const auto limit = static_cast<size_t>(options_.section_bytes);
  fill(limit + 1);
  const size_t have = buffer_.size() - begin_;
  if (have == 0) return false;
  const std::string_view rest = std::string_view(buffer_).substr(begin_);
  const size_t end = have <= limit ? have : section_end(rest, limit);
  record.body.assign(rest.substr(0, end));
  record.line = line_;
  line_ += std::count(record.body.begin(), record.body.end(), '\n');
  begin_ += end;
  return true;
}

static std::vector<ChatMessage> parse_messages(const Json& list, const std::string& where) {
  if (!list.is_array() || list.empty())
    fail("{}: \"messages\" should be a list of {{\"role\", \"content\"}}", where);
  std::vector<ChatMessage> messages;
  for (const auto& item : list) {
    const auto has = [&](const char* key) { return item.contains(key) && item[key].is_string(); };
    if (!item.is_object() || !has("role") || !has("content")) {
      fail("{}: each of \"messages\" needs the strings \"role\" and \"content\"", where);
    }
    messages.push_back({item["role"].get<std::string>(), item["content"].get<std::string>()});
  }
  return messages;
}

Document parse_record(Record&& record, const ReadOptions& options) {
  Document document;
  const size_t good = valid_utf8_prefix(record.body);
  if (good < record.body.size()) {
    if (options.invalid_utf8 == InvalidUtf8::error) {
      const auto line = record.line + std::count(record.body.begin(),
                                                 record.body.begin() + static_cast<ptrdiff_t>(good), '\n');
      fail("{}:{}: invalid UTF-8 (byte 0x{:02x}); convert the file, or set data.invalid_utf8 = \"replace\"",
           record.file, line, static_cast<unsigned char>(record.body[good]));
    }
    record.body = replace_invalid_utf8(record.body);
    document.repaired = true;
  }
  if (!record.json) {
    document.text = std::move(record.body);
    return document;
  }
  const std::string where = fmt::format("{}:{}", record.file, record.line);
  const Json json = parse_json(record.body, where);
  if (!json.is_object()) fail("{}: expected an object like {{\"text\": \"...\"}}", where);
  if (const auto text = json.find("text"); text != json.end() && text->is_string()) {
    document.text = text->get<std::string>();
  } else if (const auto messages = json.find("messages"); messages != json.end()) {
    document.messages = parse_messages(*messages, where);
  } else {
    fail("{}: no \"text\" (a string) and no \"messages\"", where);
  }
  if (const auto source = json.find("source"); source != json.end() && source->is_string()) {
    document.source = source->get<std::string>();
  }
  return document;
}

void for_each_document(const std::vector<std::string>& files, const ReadOptions& options,
                       const std::function<bool(const Document&)>& body) {
  RecordReader reader(files, options);
  Record record;
  while (reader.next(record)) {
    if (!body(parse_record(std::move(record), options))) return;
  }
}

}  // namespace frugal
