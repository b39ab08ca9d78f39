// The corpus that Frugal carries with itself: a generator of synthetic English for trying the whole pipeline
// without a download. All text is this project's own.
//
// A small closed world (synthetic_world.h) of people, towns and animals is drawn from the seed. Documents
// state its facts, ask about them, tell stories that agree with them, do sums step by step, ask about short
// passages, and chat. Document i of a part is a pure function of (seed, part, i).
//
// Held out, and never in the text: for every fact one wording of its question (the fact occurs in statements
// and in other wordings, the wording with other subjects); one in eight pairs of operands above ten; the
// passages of the reading questions. So right answers take more than recalling a sentence.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "data/source.h"

namespace frugal {

struct SyntheticOptions {
  int64_t train_bytes = 8 << 20;  // of text, about
  int64_t valid_bytes = 128 << 10;
  bool chats = true;        // one document in six has "messages" instead of "text"
  int64_t questions = 600;  // held-out questions, evenly over the kinds
  int64_t practice = 0;     // other questions with their answers in full, likewise
};

// prompt + " " + the right continuation is how the training text goes on. `kind` is fact, reading, addition
// or subtraction.
struct Question {
  std::string prompt;  // "Question: Where does Anna live?\nAnswer:"
  std::string answer;  // "Riverton"; of sums the result only
  std::string kind;
  std::vector<std::string> choices;  // the answer among others, in random order; empty for sums
  std::string question;              // "Where does Anna live?", for a chat
  std::string worked;                // of sums: how the text goes on, step by step; not kept in files
};

// Whether a continuation of question.prompt gives the answer: its first line is the answer (a full stop
// apart), or of sums, its last number is.
bool is_correct(const Question& question, std::string_view continuation);

class SyntheticWorld;

class SyntheticCorpus {
 public:
  // UsageError for sizes below zero or no training text at all.
  explicit SyntheticCorpus(uint64_t seed, SyntheticOptions options = {});
  ~SyntheticCorpus();

  // Calls train with every training document, then valid with every validation document, in order; all are
  // different. Memory: 16 to 43 bytes per document.
  using Sink = std::function<void(const Document&)>;
  void generate(const Sink& train, const Sink& valid) const;

  std::vector<Question> questions() const;

  // Questions to practise on, as the text asks and answers them (sums with their steps); nothing that is held
  // out is among them. One in twenty more for validation; no prompt stands twice.
  struct Practice {
    std::string prompt, completion;  // "Question: ...\nAnswer:", " Riverton"
  };
  struct PracticeSet {
    std::vector<Practice> train, valid;
  };
  PracticeSet practice() const;

  // train.jsonl, valid.jsonl and questions.jsonl ({"prompt", "answer", "kind", "choices", "question"});
  // practice.jsonl and practice_valid.jsonl ({"prompt", "completion"}) when there are any. Each is written
  // atomically.
  void write(const std::filesystem::path& folder) const;

 private:
  uint64_t seed_;
  SyntheticOptions options_;
  std::unique_ptr<SyntheticWorld> world_;
};

// Sums as such questions, operands of up to `digits` digits: of those that the text never holds (`held_out`),
// or of the others. A pure function of its arguments.
std::vector<Question> sum_questions(uint64_t seed, int64_t count, bool held_out, int64_t digits);

// Reads questions.jsonl back. Error with file and line.
std::vector<Question> read_questions(const std::filesystem::path& path);

}  // namespace frugal
