// Two tokenizations of one text, matched at the byte offsets where tokens of both begin. There both models
// say what comes next after the same text, and between two such places both spell the same bytes: what the
// losses across tokenizers compare.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "data/batch.h"
#include "nn/batch.h"
#include "text/tokenizer.h"

namespace frugal {

struct AlignedRows {
  Batch batch;                        // the same texts as the teacher reads them; a sequence for each
  std::vector<int32_t> targets;       // (R') the teacher's next tokens, -1: none
  std::vector<int64_t> teacher_rows;  // (R) the teacher's row after the same text as a row of the student;
                                      // -1: none begins there, or the student's row has no target
  struct Chunk {
    int64_t begin, end;                  // rows of the student whose targets spell the chunk
    int64_t teacher_begin, teacher_end;  // rows of the teacher whose targets do
  };
  std::vector<Chunk> chunks;
  int64_t met = 0;  // targets of the student that have a teacher's row
};

class TokenAligner {
 public:
  // `teacher_positions`: how long a sequence the teacher can read; the rest of a text has no teacher.
  TokenAligner(const Tokenizer& student, const Tokenizer& teacher, int64_t teacher_positions);

  // Matches the texts of a batch: those of its documents, or its sequences where `whole` (R; may be empty) is
  // not 0. BOS and EOS stand for each other; another special token for the teacher's of the same name, where
  // there is one. A text that the teacher's tokenizer changes (normalises) has no teacher, nor have bytes
  // that are no UTF-8 and what follows a character that it cannot write. The last chunk of a text that was
  // cut is left out: the teacher has cut it in the middle of a token, perhaps, and takes its end for
  // unlikely.
  AlignedRows match(const TrainBatch& rows, std::span<const float> whole = {}) const;

 private:
  struct Spelling;
  void read(std::span<const int32_t> ids, Spelling& student, Spelling& teacher) const;
  void read_text(std::string_view text, int64_t begin, Spelling& teacher) const;
  void read_characters(std::string_view text, int64_t begin, Spelling& teacher) const;
  void read_special(int32_t id, bool first, int64_t begin, Spelling& teacher) const;
  void add(std::span<const int32_t> ids, const std::vector<int32_t>& targets, int64_t row,
           AlignedRows& out) const;

  Tokenizer student_, teacher_;
  int64_t positions_;
};

}  // namespace frugal
