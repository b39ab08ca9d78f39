// From file names to documents, in constant memory.
//
// - NAME.txt: one document. A file longer than ReadOptions::section_bytes is read as consecutive documents of
// at most
//   that size, cut at the end of a paragraph (else of a line, else of a word), so that memory stays bounded
//   and a validation split exists even for one long file.
// - NAME.jsonl: a document a line, an object with "text" (a string) or "messages" (a list of {"role",
// "content"});
//   "source" is optional; other keys are ignored; blank lines are skipped.
// - Both also as .gz and .zst.
// Reading (RecordReader) is serial and cheap; parsing and checking (parse_record) may run in parallel.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "text/chat_message.h"

namespace frugal {

class ByteReader;

enum class InvalidUtf8 { error, replace };
// UsageError naming `where` unless text is "error" or "replace".
InvalidUtf8 parse_invalid_utf8(std::string_view text, std::string_view where);

struct ReadOptions {
  InvalidUtf8 invalid_utf8 = InvalidUtf8::error;
  int64_t section_bytes = 64 << 10;
};

// The files a pattern stands for, sorted by name: a file, a folder (all files below it of a kind listed
// above), or a glob
// (* ? [..] and {a,b}). Error, starting with `where`, when there is none or the kind is unknown.
std::vector<std::string> expand_pattern(const std::string& pattern, std::string_view where);
// The same over a list; a file matched twice counts once.
std::vector<std::string> expand_patterns(const std::vector<std::string>& patterns, std::string_view where);

// A document has text or messages, not both.
struct Document {
  std::string text;
  std::string source;
  std::vector<ChatMessage> messages;
  bool repaired = false;  // invalid UTF-8 was replaced
  int64_t bytes() const;  // of the text, or of all messages' contents
  bool blank() const;     // nothing but white space
};

// An unparsed document and where it was found, for error messages.
struct Record {
  std::string body;
  std::string file;
  int64_t line = 1;
  bool json = false;
};

// Reads the records of several files, one after another. Errors: a file missing, empty, binary (NUL bytes, or
// more control bytes than text), a compressed stream that ends early, a line longer than 256 MiB.
class RecordReader {
 public:
  explicit RecordReader(std::vector<std::string> files, ReadOptions options = {});
  ~RecordReader();
  bool next(Record& record);
  int64_t consumed() const;  // bytes of the files so far, as stored

 private:
  bool open_next();
  bool next_line(Record& record);
  bool next_section(Record& record);
  void fill(size_t bytes);
  void check_text(std::string_view bytes, int64_t line) const;

  std::vector<std::string> files_;
  ReadOptions options_;
  size_t file_ = 0;
  std::unique_ptr<ByteReader> reader_;
  std::string buffer_;  // bytes read ahead; those before begin_ are used up
  size_t begin_ = 0;
  bool at_end_ = false;  // of the open file
  bool json_ = false;
  int64_t line_ = 1, records_ = 0, finished_bytes_ = 0;
};

// Checks UTF-8, parses JSON. Errors start with "FILE:LINE: ".
Document parse_record(Record&& record, const ReadOptions& options);

// Calls body with every document of the files, in order, until it returns false.
void for_each_document(const std::vector<std::string>& files, const ReadOptions& options,
                       const std::function<bool(const Document&)>& body);

}  // namespace frugal
