// Two tokenizers meet at byte offsets.
#include "distill/alignment.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "core/error.h"
#include "core/thread_pool.h"
#include "text/bpe_trainer.h"

namespace frugal {
namespace {

Tokenizer trained(int vocab, const std::string& flavour) {
  ThreadPool pool(1);
  BpeTrainer trainer({.vocab_size = vocab}, pool);
  for (int i = 0; i < 20; ++i) {
    trainer.add(fmt::format("Once upon a time there were {} small {} on the sea. ü 你好", i, flavour));
  }
  return trainer.train();
}

class Alignment : public testing::Test {
 protected:
  const Tokenizer student_ = trained(285, "boats"), teacher_ = trained(320, "houses and gardens");
  const TokenAligner aligner_{student_, teacher_, 1000};

  // Rows of `length` made of documents; -1 behind the last of them where nothing follows.
  TrainBatch batch(const std::vector<std::vector<int32_t>>& documents, bool cut = false) const {
    TrainBatch b{1, 0, {}, {}, {}, {}, {0}, {}};
    for (size_t d = 0; d < documents.size(); ++d) {
      const std::vector<int32_t>& ids = documents[d];
      const bool open = cut && d + 1 == documents.size();  // its last token is a target alone
      const size_t count = ids.size() - (open ? 1 : 0);
      for (size_t i = 0; i < count; ++i) {
        b.tokens.push_back(ids[i]);
        b.targets.push_back(i + 1 < ids.size() ? ids[i + 1] : -1);
        b.positions.push_back(static_cast<int32_t>(i));
        b.document.push_back(static_cast<int32_t>(d));
      }
    }
    b.length = std::ssize(b.tokens);
    b.offsets.push_back(b.length);
    return b;
  }
  std::vector<int32_t> framed(const std::string& text) const {
    std::vector<int32_t> ids = student_.encode(text);
    ids.insert(ids.begin(), student_.bos_id().value_or(*student_.eos_id()));
    ids.push_back(*student_.eos_id());
    return ids;
  }
  // What a row's model has read, special tokens left out; `first`: of its text.
  static std::string before(const Tokenizer& tokenizer, std::span<const int32_t> tokens, int64_t first,
                            int64_t row) {
    std::string text;
    for (int64_t i = first; i <= row; ++i) {
      const int32_t id = tokens[static_cast<size_t>(i)];
      if (!tokenizer.is_special(id)) text += tokenizer.token_bytes(id);
    }
    return text;
  }
  static std::string spelled(const Tokenizer& tokenizer, std::span<const int32_t> targets, int64_t begin,
                             int64_t end) {
    std::string text;
    for (int64_t i = begin; i < end; ++i) {
      const int32_t id = targets[static_cast<size_t>(i)];
      text += tokenizer.is_special(id) ? "|" : tokenizer.token_bytes(id);
    }
    return text;
  }
};

TEST_F(Alignment, PlacesFollowTheSameTextAndChunksSpellTheSame) {
  const std::string texts[] = {"Once upon a time there were 12 gardens.", "ü 你好, small houses and boats!",
                               "a"};
  const TrainBatch rows = batch({framed(texts[0]), framed(texts[1]), framed(texts[2])});
  const AlignedRows aligned = aligner_.match(rows);
  ASSERT_EQ(aligned.batch.sequences(), 3);
  int64_t met = 0, first = 0;
  for (int64_t i = 0; i < std::ssize(rows.tokens); ++i) {
    const auto at = static_cast<size_t>(i);
    if (i > 0 && rows.document[at] != rows.document[at - 1]) first = i;
    const int64_t there = aligned.teacher_rows[at];
    if (there < 0) continue;
    ++met;
    const auto document = static_cast<size_t>(rows.document[at]);
    EXPECT_EQ(before(student_, rows.tokens, first, i),
              before(teacher_, aligned.batch.tokens, aligned.batch.offsets[document], there));
    EXPECT_LT(there, aligned.batch.offsets[document + 1]);
  }
  EXPECT_EQ(aligned.met, met);
  EXPECT_GT(met, 10);
  EXPECT_LT(met, std::ssize(rows.tokens));  // the tokenizers do differ
  // A text that ends with EOS is spelled by its chunks as a whole, EOS included.
  std::string student, teacher;
  for (const AlignedRows::Chunk& chunk : aligned.chunks) {
    const std::string own = spelled(student_, rows.targets, chunk.begin, chunk.end);
    EXPECT_EQ(own, spelled(teacher_, aligned.targets, chunk.teacher_begin, chunk.teacher_end));
    student += own;
  }
  EXPECT_EQ(student, texts[0] + "|" + texts[1] + "|" + texts[2] + "|");
}

// A row that begins and ends within a document: the teacher reads the beginning as context, and does not
// judge how the cut text ends.
TEST_F(Alignment, CutTexts) {
  std::vector<int32_t> ids = student_.encode("Once upon a time there were 12 small boats on the sea.");
  ids.erase(ids.begin());
  ids.pop_back();
  const TrainBatch rows = batch({ids}, true);
  const AlignedRows aligned = aligner_.match(rows);
  ASSERT_GT(aligned.chunks.size(), 3u);
  std::string text;
  for (const AlignedRows::Chunk& chunk : aligned.chunks) {
    text += spelled(student_, rows.targets, chunk.begin, chunk.end);
  }
  const std::string whole = student_.decode(ids);
  EXPECT_NE(whole.find(text), std::string::npos);
  EXPECT_FALSE(whole.ends_with(text));
  EXPECT_EQ(teacher_.decode(aligned.batch.tokens, {.skip_special = true}), whole);
}

TEST_F(Alignment, OnlyTargetsCount) {
  TrainBatch rows = batch({framed("Once upon a time there were 12 small boats.")});
  const AlignedRows all = aligner_.match(rows);
  for (size_t i = 0; i < 6; ++i) rows.targets[i] = -1;  // a prompt: the tokens stay
  const std::vector<float> whole(rows.tokens.size(), 1.0f);
  for (size_t i = 0; i < rows.document.size(); ++i) rows.document[i] = static_cast<int32_t>(i);
  const AlignedRows some = aligner_.match(rows, whole);
  EXPECT_EQ(some.batch.tokens, all.batch.tokens);
  for (size_t i = 0; i < rows.tokens.size(); ++i) {
    EXPECT_EQ(some.teacher_rows[i], i < 6 ? -1 : all.teacher_rows[i]);
  }
  for (const AlignedRows::Chunk& chunk : some.chunks) EXPECT_GE(chunk.begin, 6);
  EXPECT_LT(some.chunks.size(), all.chunks.size());
  EXPECT_FALSE(some.chunks.empty());
}

TEST_F(Alignment, TextBeyondTheTeachersPositionsHasNoTeacher) {
  const TrainBatch rows = batch({framed("Once upon a time there were 12 small boats on the sea.")});
  const AlignedRows aligned = TokenAligner(student_, teacher_, 5).match(rows);
  EXPECT_EQ(aligned.batch.rows(), 5);
  for (const AlignedRows::Chunk& chunk : aligned.chunks) EXPECT_LT(chunk.teacher_end, 5);
  EXPECT_GT(aligned.met, 0);
  EXPECT_LE(aligned.met, 4);
}

// As a student writes that has learned nothing yet: what surrounds the bytes is compared, they are not.
TEST_F(Alignment, BytesThatAreNoText) {
  std::vector<int32_t> ids = framed("small boats on the sea.");
  const std::vector<int32_t> bytes = student_.encode("\xC0\xFF");
  ids.insert(ids.end() - 1, bytes.begin(), bytes.end());
  const std::vector<int32_t> more = student_.encode("There were houses.");
  ids.insert(ids.end() - 1, more.begin(), more.end());
  const TrainBatch rows = batch({ids});
  const AlignedRows aligned = aligner_.match(rows);
  EXPECT_EQ(teacher_.decode(aligned.batch.tokens, {.skip_special = true}),
            "small boats on the sea.\uFFFDThere were houses.");
  std::string text;
  for (const AlignedRows::Chunk& chunk : aligned.chunks) {
    const std::string own = spelled(student_, rows.targets, chunk.begin, chunk.end);
    EXPECT_EQ(own, spelled(teacher_, aligned.targets, chunk.teacher_begin, chunk.teacher_end));
    text += own;
  }
  EXPECT_EQ(text.find('\xC0'), std::string::npos);
  EXPECT_TRUE(text.starts_with("small boats")) << text;
  EXPECT_TRUE(text.ends_with("There were houses.|")) << text;
}

// The same tokenizer on both sides: every target has its row, and every chunk is a token.
TEST_F(Alignment, OneTokenizerMeetsItselfEverywhere) {
  const TrainBatch rows = batch({framed("small boats"), framed("ü")});
  const AlignedRows aligned = TokenAligner(student_, student_, 1000).match(rows);
  const auto targets = std::ranges::count_if(rows.targets, [](int32_t t) { return t >= 0; });
  EXPECT_EQ(aligned.met, targets);
  EXPECT_EQ(std::ssize(aligned.chunks), targets);
  EXPECT_EQ(aligned.batch.tokens, rows.tokens);
}

}  // namespace
}  // namespace frugal
