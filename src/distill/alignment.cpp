#include "distill/alignment.h"

#include <algorithm>
#include <optional>

#include "core/error.h"
#include "core/utf8.h"

namespace frugal {

// Tokens with the bytes of the text that each stands for; a special token stands for one. begin is -1 where
// that is not known.
struct TokenAligner::Spelling {
  std::vector<int32_t> ids;
  std::vector<int64_t> begin;
  bool ends_whole = false;  // the last token is a special one: the text was not cut
  bool lost = false;        // the rest cannot be read

  void push(int32_t id, int64_t at) {
    ids.push_back(id);
    begin.push_back(at);
  }
};

TokenAligner::TokenAligner(const Tokenizer& student, const Tokenizer& teacher, int64_t teacher_positions)
    : student_(student), teacher_(teacher), positions_(teacher_positions) {
  CHECK(teacher_positions > 0);
}

// A student that has learned little writes bytes that are no characters; few teachers have tokens for those.
// The teacher reads a replacement character there, and nothing is compared across it.
void TokenAligner::read_text(std::string_view text, int64_t begin, Spelling& teacher) const {
  while (!text.empty()) {
    const size_t valid = valid_utf8_prefix(text);
    if (valid > 0) read_characters(text.substr(0, valid), begin, teacher);
    size_t end = valid;
    while (end < text.size() && valid_utf8_prefix(text.substr(end)) == 0) ++end;
    if (end > valid) read_characters("\uFFFD", -1, teacher);
    begin += static_cast<int64_t>(end);
    text.remove_prefix(end);
  }
}

// `begin` -1: they stand for something else. What the vocabulary lacks ends what the teacher reads.
void TokenAligner::read_characters(std::string_view text, int64_t begin, Spelling& teacher) const {
  if (teacher.lost) return;
  std::vector<int32_t> ids;
  try {
    ids = teacher_.encode(text);
  } catch (const Error&) {
    teacher.lost = true;
    return;
  }
  std::string spelled;
  for (const int32_t id : ids) spelled += teacher_.token_bytes(id);
  const bool space_added = spelled.size() == text.size() + 1 && spelled.ends_with(text);  // as SentencePiece
  const bool same = begin >= 0 && (space_added || spelled == text);
  int64_t at = begin - (space_added ? 1 : 0);
  for (const int32_t id : ids) {
    teacher.push(id, same ? std::max(at, begin) : -1);
    at += std::ssize(teacher_.token_bytes(id));
  }
}

void TokenAligner::read_special(int32_t id, bool first, int64_t begin, Spelling& teacher) const {
  const bool frame = id == student_.bos_id() || id == student_.eos_id();
  std::optional<int32_t> theirs;
  if (frame) {
    theirs = first && teacher_.bos_id() ? teacher_.bos_id() : teacher_.eos_id();
  } else if (id < student_.vocab_size()) {
    const auto found = teacher_.find(student_.token_bytes(id));
    if (found && teacher_.is_special(*found)) theirs = found;
  }
  if (theirs && !teacher.lost) teacher.push(*theirs, begin);
}

void TokenAligner::read(std::span<const int32_t> ids, Spelling& student, Spelling& teacher) const {
  const auto special = [&](int32_t id) { return id >= student_.vocab_size() || student_.is_special(id); };
  const bool framed = special(ids[0]) && (ids[0] == student_.bos_id() || ids[0] == student_.eos_id());
  if (!framed && teacher_.bos_id()) teacher.push(*teacher_.bos_id(), -1);
  std::string text;
  int64_t at = 0;
  const auto flush = [&] {
    if (!text.empty()) read_text(text, at - std::ssize(text), teacher);
    text.clear();
  };
  for (size_t i = 0; i < ids.size(); ++i) {
    if (special(ids[i])) {
      flush();
      student.push(ids[i], at);
      read_special(ids[i], i == 0, at, teacher);
      ++at;
    } else {
      student.push(ids[i], at);
      const std::string_view bytes = student_.token_bytes(ids[i]);
      text += bytes;
      at += std::ssize(bytes);
    }
  }
  flush();
  student.ends_whole = special(ids.back());
}

// One text: the student's tokens `ids`, of which the first is at `row`.
void TokenAligner::add(std::span<const int32_t> ids, const std::vector<int32_t>& targets, int64_t row,
                       AlignedRows& out) const {
  Spelling student, teacher;
  read(ids, student, teacher);
  const size_t length = std::min(teacher.ids.size(), static_cast<size_t>(positions_));
  if (length < 2) return;
  const int64_t base = out.batch.rows();
  for (size_t j = 0; j < length; ++j) {
    out.batch.tokens.push_back(teacher.ids[j]);
    out.batch.positions.push_back(static_cast<int32_t>(j));
    out.targets.push_back(j + 1 < length ? teacher.ids[j + 1] : -1);
  }
  out.batch.offsets.push_back(out.batch.rows());

  const auto has_target = [&](size_t k) { return targets[static_cast<size_t>(row) + k - 1] >= 0; };
  size_t last_k = 0, last_j = 0;  // where the latest chunk began; 0: nowhere
  const auto close = [&](size_t k, size_t j) {
    if (last_k == 0) return;
    for (size_t i = last_k; i < k; ++i) {
      if (!has_target(i)) return;
    }
    for (size_t i = last_j; i < j; ++i) {
      if (teacher.begin[i] < 0) return;
    }
    out.chunks.push_back({row + static_cast<int64_t>(last_k) - 1, row + static_cast<int64_t>(k) - 1,
                          base + static_cast<int64_t>(last_j) - 1, base + static_cast<int64_t>(j) - 1});
  };
  size_t j = 1;
  for (size_t k = 1; k < student.ids.size(); ++k) {
    if (k + 1 < student.ids.size() && student.begin[k] == student.begin[k + 1]) continue;  // of no bytes
    while (j < length && teacher.begin[j] < student.begin[k]) ++j;
    while (j + 1 < length && teacher.begin[j + 1] == student.begin[k]) ++j;
    if (j == length) break;
    if (teacher.begin[j] != student.begin[k]) continue;
    close(k, j);
    last_k = k;
    last_j = j;
    if (!has_target(k)) continue;
    out.teacher_rows[static_cast<size_t>(row) + k - 1] = base + static_cast<int64_t>(j) - 1;
    ++out.met;
  }
  if (student.ends_whole && length == teacher.ids.size() && last_j + 1 == length &&
      last_k + 1 == student.ids.size()) {
    close(student.ids.size(), length);
  }
}

AlignedRows TokenAligner::match(const TrainBatch& rows, std::span<const float> whole) const {
  CHECK(whole.empty() || whole.size() == rows.tokens.size());
  AlignedRows out;
  out.batch.offsets.push_back(0);
  out.teacher_rows.assign(rows.tokens.size(), -1);
  for (size_t s = 0; s + 1 < rows.offsets.size(); ++s) {
    const auto begin = static_cast<size_t>(rows.offsets[s]), end = static_cast<size_t>(rows.offsets[s + 1]);
    for (size_t first = begin; first < end;) {
      size_t last = first + 1;
      const bool one = !whole.empty() && whole[first] != 0;
      while (last < end && (one || rows.document[last] == rows.document[first])) ++last;
      std::vector<int32_t> ids(rows.tokens.begin() + static_cast<ptrdiff_t>(first),
                               rows.tokens.begin() + static_cast<ptrdiff_t>(last));
      if (rows.targets[last - 1] >= 0) ids.push_back(rows.targets[last - 1]);
      if (ids.size() > 1) add(ids, rows.targets, static_cast<int64_t>(first), out);
      first = last;
    }
  }
  return out;
}

}  // namespace frugal
