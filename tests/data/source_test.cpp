#include "data/source.h"

#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <bit>

#include "core/rng.h"
#include "data/hash.h"
#include "data_test_util.h"

namespace frugal {
namespace {

std::string gzip(const std::string& text) {
  const fs::path path = fs::path(testing::TempDir()) / "frugal_gzip_scratch";
  gzFile file = ::gzopen(path.c_str(), "wb");
  EXPECT_EQ(::gzwrite(file, text.data(), static_cast<unsigned>(text.size())), static_cast<int>(text.size()));
  ::gzclose(file);
  return read_file(path);
}
std::string zstd(const std::string& text) {
  std::string out(::ZSTD_compressBound(text.size()), '\0');
  out.resize(::ZSTD_compress(out.data(), out.size(), text.data(), text.size(), 3));
  return out;
}

std::vector<Document> read_all(const fs::path& path, ReadOptions options = {}) {
  std::vector<Document> documents;
  for_each_document({path.string()}, options, [&](const Document& d) {
    documents.push_back(d);
    return true;
  });
  return documents;
}
std::string error_reading(const std::string& name, const std::string& content) {
  const fs::path path = fresh_folder() / name;
  write_file_atomically(path, content);
  const std::string message = error_of([&] { read_all(path); });
  EXPECT_TRUE(message.starts_with(path.string())) << message;
  return message.substr(std::min(message.size(), path.string().size()));
}

std::string long_text(size_t bytes) {
  std::string text;
  Rng rng(5);
  while (text.size() < bytes) {
    text += "w" + std::to_string(rng.below(100000));
    text += rng.below(40) == 0 ? "\n\n" : rng.below(10) == 0 ? "\n" : " ";
  }
  return text;
}

TEST(Hash, AnyCutGivesTheSameHashAndNoShortCollisions) {
  const std::string text = long_text(1000);
  const Hash128 whole = hash128(text);
  Rng rng(1);
  for (int repeat = 0; repeat < 50; ++repeat) {
    Hasher128 hasher;
    for (size_t at = 0; at < text.size();) {
      const size_t n = std::min(text.size() - at, static_cast<size_t>(rng.below(40)));
      hasher.update(text.data() + at, n);
      at += n;
    }
    EXPECT_EQ(hasher.finish(), whole);
  }
  std::vector<uint64_t>
      halves[2];  // each half alone is collision-free on 300,000 short and zero-filled strings
  for (int i = 0; i < 300000; ++i) {
    const std::string zeros(i < 200000 ? 0 : 1 + static_cast<size_t>(i) % 1000, '\0');
    const Hash128 hash = hash128(zeros + std::to_string(i < 200000 ? i : i / 1000));
    halves[0].push_back(hash.high);
    halves[1].push_back(hash.low);
  }
  for (auto& half : halves) {
    std::sort(half.begin(), half.end());
    EXPECT_EQ(std::adjacent_find(half.begin(), half.end()), half.end());
  }
  EXPECT_EQ(hash128("").hex().size(), 32u);
}

TEST(Hash, EveryInputBitChangesAboutHalfTheOutput) {
  const std::string text = long_text(40).substr(0, 40);
  const Hash128 base = hash128(text);
  for (size_t bit = 0; bit < 320; ++bit) {
    std::string other = text;
    other[bit / 8] = static_cast<char>(other[bit / 8] ^ (1 << bit % 8));
    const Hash128 hash = hash128(other);
    const int changed = std::popcount(hash.high ^ base.high) + std::popcount(hash.low ^ base.low);
    EXPECT_GT(changed, 35) << bit;
    EXPECT_LT(changed, 93) << bit;
  }
}

TEST(Sources, JsonLinesWithSourceMessagesBlankLinesAndCrLf) {
  const fs::path path = fresh_folder() / "a.jsonl";
  write_file_atomically(
      path,
      "\xEF\xBB\xBF{\"text\": \"one\\n\\u00e9\", \"source\": \"s\", \"extra\": [1]}\r\n\n"
      "{\"messages\": [{\"role\": \"user\", \"content\": \"hi\"}]}\n   \n{\"text\": \"last\"}");
  const auto documents = read_all(path);
  ASSERT_EQ(documents.size(), 3u);
  EXPECT_EQ(documents[0].text, "one\n\xC3\xA9");
  EXPECT_EQ(documents[0].source, "s");
  EXPECT_EQ(documents[1].messages.at(0).content, "hi");
  EXPECT_EQ(documents[1].bytes(), 2);
  EXPECT_EQ(documents[2].text, "last");
}

TEST(Sources, CompressedFilesReadTheSame) {
  const fs::path folder = fresh_folder();
  const std::string text = long_text(700000);
  const std::string half = text.substr(0, 300000), rest = text.substr(300000);
  write_file_atomically(folder / "a.txt", text);
  write_file_atomically(folder / "b.txt.gz", gzip(half) + gzip(rest));  // two members, two frames
  write_file_atomically(folder / "c.txt.zst", zstd(half) + zstd(rest));
  std::string joined[3];
  std::vector<Hash128> cuts[3];
  int i = 0;
  for (const auto& file : expand_pattern(folder.string(), "data.train")) {
    for (const auto& document : read_all(file)) {
      joined[i] += document.text;
      cuts[i].push_back(hash128(document.text));
    }
    EXPECT_EQ(joined[i], text);
    EXPECT_EQ(cuts[i], cuts[0]);
    ++i;
  }
  EXPECT_EQ(i, 3);
}

TEST(Sources, ALongTextIsCutAtParagraphs) {
  const fs::path path = fresh_folder() / "book.txt";
  const std::string text = long_text(50000);
  write_file_atomically(path, text);
  EXPECT_EQ(read_all(path).size(), 1u);
  const auto documents = read_all(path, {.section_bytes = 4000});
  EXPECT_GT(documents.size(), 12u);
  std::string joined;
  for (const auto& document : documents) {
    EXPECT_LE(document.text.size(), 4000u);
    joined += document.text;
    EXPECT_TRUE(joined.size() == text.size() || document.text.ends_with("\n\n"));
  }
  EXPECT_EQ(joined, text);
  std::string euros;
  for (int i = 0; i < 1000; ++i) euros += "\xE2\x82\xAC";
  write_file_atomically(path, euros);  // no place to cut but between characters
  joined.clear();
  for (const auto& document : read_all(path, {.section_bytes = 100})) joined += document.text;
  EXPECT_EQ(joined, euros);
}

TEST(Sources, PatternsFoldersAndTheirErrors) {
  const fs::path folder = fresh_folder();
  make_directories(folder / "sub");
  for (const char* name : {"b.txt", "a.jsonl", "sub/c.txt.gz", "notes.md"})
    write_file_atomically(folder / name, "x");
  const auto names = [&](const std::vector<std::string>& patterns) {
    std::vector<std::string> result;
    for (const auto& file : expand_patterns(patterns, "data.train"))
      result.push_back(fs::relative(file, folder).string());
    return result;
  };
  const std::string base = folder.string();
  EXPECT_EQ(names({base}), (std::vector<std::string>{"a.jsonl", "b.txt", "sub/c.txt.gz"}));
  EXPECT_EQ(names({base + "/*.{txt,jsonl}", base + "/sub/../b.txt"}),
            (std::vector<std::string>{"a.jsonl", "b.txt"}));
  const auto error = [&](const std::string& pattern) { return error_of([&] { names({base + pattern}); }); };
  EXPECT_CONTAINS(error("/missing.txt"), "data.train: no such file");
  EXPECT_CONTAINS(error("/*.csv"), "no file matches");
  EXPECT_CONTAINS(error("/notes.md"), "unknown kind of file, expected .txt or .jsonl");
  make_directories(folder / "empty");
  EXPECT_CONTAINS(error("/empty"), "no file below the folder");
}

TEST(Sources, BadContentNamesFileAndLine) {
  EXPECT_CONTAINS(error_reading("a.txt", ""), ": the file is empty");
  EXPECT_CONTAINS(error_reading("a.jsonl", "\n \n"), ": the file is empty");
  EXPECT_CONTAINS(error_reading("a.txt", std::string("one\ntwo\0", 8)), ":2: a NUL byte");
  EXPECT_CONTAINS(error_reading("a.txt", std::string(1000, '\x01')), "not UTF-8 text");
  EXPECT_CONTAINS(error_reading("a.txt", std::string(1000, '\xE9')), "not UTF-8 text");
  EXPECT_CONTAINS(error_reading("a.txt", "one\ntwo and caf\xE9 then more text"),
                  ":2: invalid UTF-8 (byte 0xe9)");
  EXPECT_CONTAINS(error_reading("a.jsonl", "{\"text\": \"a\"}\n{\"text\": \"caf\xE9 and so on\"}"),
                  ":2: invalid UTF-8");
  EXPECT_CONTAINS(error_reading("a.jsonl", "{\"text\": \"a\"}\n\n{\"text\": \"b}\n"), ":3: not valid JSON");
  EXPECT_CONTAINS(error_reading("a.jsonl", "{\"txt\": \"a\"}\n"), ":1: no \"text\"");
  EXPECT_CONTAINS(error_reading("a.jsonl", "{\"text\": 3}\n"), ":1: no \"text\"");
  EXPECT_CONTAINS(error_reading("a.jsonl", "[1]\n"), ":1: expected an object");
  EXPECT_CONTAINS(error_reading("a.jsonl", "{\"messages\": []}\n"), ":1: \"messages\" should be a list");
  EXPECT_CONTAINS(error_reading("a.jsonl", "{\"messages\": [{\"role\": \"user\"}]}\n"), "needs the strings");
  EXPECT_CONTAINS(error_reading("a.jsonl", "{\"text\": " + std::string(1000, '[') + "\n"),
                  ":1: JSON nested deeper");
}

TEST(Sources, DamagedCompressedFiles) {
  const std::string text = long_text(400000), gz = gzip(text), zst = zstd(text);
  for (const double keep : {0.01, 0.5, 0.999}) {
    const auto cut = [&](const std::string& all) {
      return all.substr(0, static_cast<size_t>(keep * static_cast<double>(all.size())));
    };
    EXPECT_CONTAINS(error_reading("a.txt.gz", cut(gz)), "ends early");
    EXPECT_CONTAINS(error_reading("a.txt.zst", cut(zst)), "ends early");
  }
  EXPECT_CONTAINS(error_reading("a.txt.gz", "plain"), "not a valid compressed file");
  EXPECT_CONTAINS(error_reading("a.txt.zst", "plain"), "not a valid compressed file");
  std::string flipped = gz;
  flipped[gz.size() / 2] = static_cast<char>(flipped[gz.size() / 2] ^ 0x55);
  EXPECT_CONTAINS(error_reading("a.txt.gz", flipped), "compressed");
  EXPECT_CONTAINS(error_reading("a.txt", gz), "");
}

TEST(Sources, InvalidUtf8CanBeReplaced) {
  const fs::path path = fresh_folder() / "a.jsonl";
  write_file_atomically(path, "{\"text\": \"caf\xE9 and so on\"}\n{\"text\": \"fine\"}");
  const auto documents = read_all(path, {.invalid_utf8 = InvalidUtf8::replace});
  EXPECT_EQ(documents.at(0).text, "caf\xEF\xBF\xBD and so on");
  EXPECT_TRUE(documents[0].repaired);
  EXPECT_FALSE(documents.at(1).repaired);
  EXPECT_EQ(parse_invalid_utf8("replace", "x"), InvalidUtf8::replace);
  EXPECT_THROW(parse_invalid_utf8("drop", "data.invalid_utf8"), UsageError);
}

}  // namespace
}  // namespace frugal
