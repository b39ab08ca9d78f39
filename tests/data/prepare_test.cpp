#include "data/prepare.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "core/json.h"
#include "core/rng.h"
#include "data/hash.h"
#include "data_test_util.h"

namespace frugal {
namespace {

// A byte is a token: id = byte + 10.
Tokenization bytes_tokenization(int64_t vocab_size = 266) {
  Tokenization t;
  t.encode = [](std::string_view text, std::vector<int32_t>& ids) {
    for (const unsigned char c : text) ids.push_back(c + 10);
  };
  t.framing = {0, 1};
  t.vocab_size = vocab_size;
  t.hash = "bytes";
  return t;
}

std::string text_of(const TokenSet& set, int64_t document) {
  std::vector<int32_t> ids(static_cast<size_t>(set.document_tokens(document)));
  set.copy(document, 0, static_cast<int64_t>(ids.size()), ids.data());
  std::string text;
  for (const int32_t id : ids) text.push_back(static_cast<char>(id - 10));
  return text;
}
std::vector<std::string> texts_of(const TokenSet& set) {
  std::vector<std::string> texts;
  for (int64_t i = 0; i < set.documents(); ++i) texts.push_back(text_of(set, i));
  return texts;
}

std::string line(const std::string& text) {
  return to_text(Json{{"text", text}}) + "\n";
}

std::string random_text(Rng& rng, size_t words) {
  std::string text;
  for (size_t i = 0; i < words; ++i) text += "word" + std::to_string(rng.below(3000)) + " ";
  return text;
}
// A file of `documents` different lines.
fs::path corpus(const fs::path& folder, int documents, const std::string& name = "train.jsonl",
                uint64_t seed = 1) {
  Rng rng(seed);
  std::string content;
  for (int i = 0; i < documents; ++i)
    content += line(std::to_string(i) + " " + random_text(rng, 5 + rng.below(60)));
  write_file_atomically(folder / name, content);
  return folder / name;
}

PreparedData prepare(const DataOptions& options, const fs::path& folder, int threads = 2) {
  ThreadPool pool(threads);
  return prepare_data(options, bytes_tokenization(), folder / "cache", pool);
}

TEST(Prepare, SplitsTokenisesAndReadsBackFromTheCache) {
  const fs::path folder = fresh_folder();
  DataOptions options{.train = {corpus(folder, 3000).string()}, .valid_fraction = 0.02};
  const PreparedData first = prepare(options, folder);
  ASSERT_EQ(first.train.size(), 1u);
  EXPECT_FALSE(first.report.from_cache);
  EXPECT_EQ(first.report.documents_read, 3000);
  EXPECT_EQ(first.report.train_documents + first.report.valid_documents, 3000);
  EXPECT_NEAR(static_cast<double>(first.report.valid_documents), 60, 30);
  EXPECT_EQ(first.report.valid_tokens, first.report.valid_bytes);
  EXPECT_EQ(first.valid.tokens(), first.report.valid_tokens);
  std::set<std::string> train;
  for (const auto& text : texts_of(first.train[0].tokens)) train.insert(text);
  EXPECT_EQ(static_cast<int64_t>(train.size()), first.report.train_documents);
  for (const auto& text : texts_of(first.valid)) EXPECT_FALSE(train.contains(text));

  const PreparedData second = prepare(options, folder);
  EXPECT_TRUE(second.report.from_cache);
  EXPECT_EQ(second.key, first.key);
  EXPECT_EQ(texts_of(second.valid), texts_of(first.valid));
  EXPECT_EQ(second.report.train_tokens, first.report.train_tokens);
}

TEST(Prepare, TheKeyFollowsContentOptionsAndTokenizerNotNames) {
  const fs::path folder = fresh_folder();
  ThreadPool pool(2);
  const auto key = [&](const DataOptions& options, const Tokenization& t) {
    return prepare_data(options, t, folder / "cache", pool).key;
  };
  const std::string file = corpus(folder, 50).string();
  const DataOptions options{.train = {file}};
  const std::string base = key(options, bytes_tokenization());
  fs::copy_file(file, folder / "renamed.jsonl");
  EXPECT_EQ(key({.train = {(folder / "renamed.jsonl").string()}}, bytes_tokenization()), base);
  DataOptions other = options;
  other.valid_fraction = 0.1;
  EXPECT_NE(key(other, bytes_tokenization()), base);
  other = options;
  other.deduplicate = false;
  EXPECT_NE(key(other, bytes_tokenization()), base);
  other = options;
  other.document_mask = true;  // only packing cares
  EXPECT_EQ(key(other, bytes_tokenization()), base);
  Tokenization t = bytes_tokenization();
  t.hash = "other";
  EXPECT_NE(key(options, t), base);
  corpus(folder, 51);
  EXPECT_NE(key(options, bytes_tokenization()), base);
}

TEST(Prepare, WideVocabulariesAndSeveralShards) {
  const fs::path folder = fresh_folder();
  TokenWriter writer(folder, "x", true, 100);
  TokenWriter narrow(folder, "y", false, 100);
  Rng rng(1);
  std::vector<std::vector<int32_t>> documents;
  for (int i = 0; i < 60; ++i) {
    auto& ids = documents.emplace_back();
    for (uint64_t n = rng.below(30); n > 0; --n) ids.push_back(static_cast<int32_t>(rng.below(65536)));
    writer.add(ids, i);
    narrow.add(ids, i);
  }
  for (const auto& files : {writer.finish(), narrow.finish()}) {
    EXPECT_GT(files.size(), 3u);
    const TokenSet set = TokenSet::open(folder, files, folder);
    ASSERT_EQ(set.documents(), 60);
    EXPECT_EQ(set.text_bytes(), 59 * 60 / 2);
    for (int64_t i = 0; i < 60; ++i) {
      std::vector<int32_t> ids(static_cast<size_t>(set.document_tokens(i)));
      set.copy(i, 0, set.document_tokens(i), ids.data());
      EXPECT_EQ(ids, documents[static_cast<size_t>(i)]);
      EXPECT_EQ(set.document_bytes(i), i);
    }
  }
  ThreadPool pool(1);
  const DataOptions options{.train = {corpus(folder, 30).string()}};
  const auto wide = prepare_data(options, bytes_tokenization(70000), folder / "cache", pool);
  EXPECT_EQ(texts_of(wide.valid), texts_of(prepare(options, folder).valid));
}

TEST(Prepare, ResultsDoNotDependOnThreads) {
  const fs::path folder = fresh_folder();
  DataOptions options{.train = {corpus(folder, 9000).string()},
                      .near_duplicates = true};  // several queue batches
  std::map<std::string, std::string> expected;
  for (const int threads : {1, 2, 7}) {
    const fs::path here = folder / std::to_string(threads);
    const PreparedData data = prepare(options, here, threads);
    std::map<std::string, std::string> files;
    for (const auto& entry : fs::directory_iterator(here / "cache" / data.key)) {
      files[entry.path().filename().string()] = hash128(read_file(entry.path())).hex();
    }
    EXPECT_EQ(files.size(), 3u);
    if (expected.empty()) expected = files;
    EXPECT_EQ(files, expected) << threads;
  }
}

TEST(Prepare, DropsDuplicatesAndCountsThem) {
  const fs::path folder = fresh_folder();
  Rng rng(4);
  const std::string a = random_text(rng, 200), b = random_text(rng, 200), c = random_text(rng, 200);
  std::string nearly = a;
  nearly.replace(300, 4, "WXYZ");
  write_file_atomically(folder / "a.jsonl",
                        line(a) + line(b) + line(a) + line(nearly) + line("  \n") + line(c) + line(b));
  write_file_atomically(folder / "v.jsonl", line(c));
  DataOptions options{.train = {(folder / "a.jsonl").string()}, .valid = {(folder / "v.jsonl").string()}};
  PreparedData data = prepare(options, folder);
  EXPECT_EQ(texts_of(data.train[0].tokens), (std::vector<std::string>{a, b, nearly}));
  EXPECT_EQ(texts_of(data.valid), std::vector<std::string>{c});
  EXPECT_EQ(data.report.exact_duplicates, 2);
  EXPECT_EQ(data.report.in_validation, 1);
  EXPECT_EQ(data.report.blank, 1);
  options.near_duplicates = true;
  data = prepare(options, folder);
  EXPECT_EQ(texts_of(data.train[0].tokens), (std::vector<std::string>{a, b}));
  EXPECT_EQ(data.report.near_duplicates, 1);
  options.near_duplicates = options.deduplicate = false;
  EXPECT_EQ(prepare(options, folder).train[0].tokens.documents(), 6);
}

TEST(Prepare, SmallCorporaStillGetAValidationPart) {
  const fs::path folder = fresh_folder();
  for (const int documents : {2, 3, 5, 40}) {
    const fs::path here = folder / std::to_string(documents);
    make_directories(here);
    const PreparedData data = prepare({.train = {corpus(here, documents).string()}}, here);
    EXPECT_GE(data.valid.documents(), 1);
    EXPECT_EQ(data.valid.documents() + data.train[0].tokens.documents(), documents);
    EXPECT_GE(data.train[0].tokens.documents(), 1);
  }
  Rng rng(2);
  const std::string book = random_text(rng, 2000);  // one file, one document: cut for the split
  write_file_atomically(folder / "book.txt", book);
  const PreparedData data = prepare({.train = {(folder / "book.txt").string()}}, folder);
  EXPECT_EQ(data.train[0].tokens.text_bytes() + data.valid.text_bytes(), static_cast<int64_t>(book.size()));
  EXPECT_GT(data.valid.text_bytes(), 0);
  EXPECT_LT(data.valid.text_bytes(), static_cast<int64_t>(book.size()) / 4);
  DataOptions none{.train = {(folder / "book.txt").string()}, .valid_fraction = 0};
  EXPECT_EQ(prepare(none, folder).valid.documents(), 0);
}

TEST(Prepare, WeightsMakeASourcePerEntry) {
  const fs::path folder = fresh_folder();
  const std::string a = corpus(folder, 20, "a.jsonl", 1).string(),
                    b = corpus(folder, 30, "b.jsonl", 2).string();
  const PreparedData data = prepare({.train = {a, b}, .weights = {1, 3}, .valid_fraction = 0}, folder);
  ASSERT_EQ(data.train.size(), 2u);
  EXPECT_EQ(data.train[0].tokens.documents(), 20);
  EXPECT_EQ(data.train[1].tokens.documents(), 30);
  EXPECT_EQ(data.train[1].weight, 3);
}

TEST(Prepare, ChatsGoThroughTheTemplate) {
  const fs::path folder = fresh_folder();
  const std::string chat =
      R"({"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yes"}]})";
  write_file_atomically(folder / "c.jsonl", chat + "\n" + line("plain") + line("more"));
  DataOptions options{.train = {(folder / "c.jsonl").string()}, .valid_fraction = 0};
  EXPECT_CONTAINS(error_of([&] { prepare(options, folder); }), "c.jsonl:1: a chat (\"messages\")");
  Tokenization t = bytes_tokenization();
  t.encode_chat = [&](const std::vector<ChatMessage>& messages, std::vector<int32_t>& ids) {
    ids.push_back(0);
    for (const auto& m : messages) bytes_tokenization().encode(m.role + ":" + m.content + ";", ids);
    ids.push_back(1);
  };
  ThreadPool pool(2);
  const PreparedData data = prepare_data(options, t, folder / "cache", pool);
  EXPECT_EQ(text_of(data.train[0].tokens, 0), "user:hi;assistant:yes;");  // BOS and EOS not doubled
  EXPECT_EQ(data.train[0].tokens.document_bytes(0), 5);
}

TEST(Prepare, BadOptionsAndFiles) {
  const fs::path folder = fresh_folder();
  const std::string file = corpus(folder, 10).string();
  const auto error = [&](const DataOptions& options) { return error_of([&] { prepare(options, folder); }); };
  EXPECT_CONTAINS(error({}), "data.train: name the files");
  EXPECT_CONTAINS(error({.train = {file}, .weights = {1, 2}}), "data.weights has 2 numbers for 1");
  EXPECT_CONTAINS(error({.train = {file}, .weights = {-1}}), "expected numbers above 0");
  EXPECT_CONTAINS(error({.train = {file}, .invalid_utf8 = "ignore"}), "data.invalid_utf8");
  EXPECT_CONTAINS(error({.train = {file}, .valid_fraction = 0.9}), "data.valid_fraction = 0.9");
  EXPECT_CONTAINS(error({.train = {file}, .section_bytes = 3}), "data.section_bytes");
  EXPECT_CONTAINS(error({.train = {file}, .near_duplicates = true, .near_duplicate_threshold = 2}),
                  "threshold");
  EXPECT_CONTAINS(error({.train = {file}, .valid = {file}}), "is also in data.train");
  EXPECT_CONTAINS(error({.train = {(folder / "none.txt").string()}}), "no such file");
  write_file_atomically(folder / "blank.jsonl", line(" ") + line("\n"));
  EXPECT_CONTAINS(error({.train = {(folder / "blank.jsonl").string()}}),
                  "no text is left: of 2 documents 2 are blank");
  write_file_atomically(folder / "one.jsonl", line("only this"));
  EXPECT_CONTAINS(error({.train = {(folder / "one.jsonl").string()}}), "one document only");
  std::string many;
  for (int i = 0; i < 9000; ++i) many += i == 4321 || i == 8000 ? "{bad}\n" : line(std::to_string(i));
  write_file_atomically(folder / "bad.jsonl", many);
  for (const int threads : {1, 7}) {  // the first bad line, whichever thread finds which
    EXPECT_CONTAINS(error_of([&] { prepare({.train = {(folder / "bad.jsonl").string()}}, folder, threads); }),
                    "bad.jsonl:4322: not valid JSON");
  }
  for (const auto& entry : fs::directory_iterator(folder / "cache")) {  // nothing half-made is left
    EXPECT_TRUE(entry.path().extension() == ".lock" || fs::exists(entry.path() / "manifest.json"))
        << entry.path();
  }
}

TEST(Prepare, ProgressReachesTheEndAndMayStopTheWork) {
  const fs::path folder = fresh_folder();
  const DataOptions options{.train = {corpus(folder, 10000).string()}};
  ThreadPool pool(2);
  EXPECT_CONTAINS(error_of([&] {
                    prepare_data(options, bytes_tokenization(), folder / "cache", pool,
                                 [](int64_t, int64_t) { fail("stopped"); });
                  }),
                  "stopped");
  std::vector<int64_t> done;
  prepare_data(options, bytes_tokenization(), folder / "cache", pool, [&](int64_t part, int64_t all) {
    done.push_back(part);
    EXPECT_EQ(all, static_cast<int64_t>(fs::file_size(folder / "train.jsonl")));
  });
  EXPECT_GT(done.size(), 2u);
  EXPECT_TRUE(std::is_sorted(done.begin(), done.end()));
  EXPECT_EQ(done.back(), static_cast<int64_t>(fs::file_size(folder / "train.jsonl")));
}

TEST(Cache, DamageIsAClearError) {
  const fs::path folder = fresh_folder();
  const DataOptions options{.train = {corpus(folder, 100).string()}};
  const fs::path made = folder / "cache" / prepare(options, folder).key;
  const fs::path shard = made / "train0-00000.tokens", manifest = made / "manifest.json";
  const std::string good = read_file(shard), good_manifest = read_file(manifest);
  const auto error_with = [&](const fs::path& file, const std::string& content) {
    const std::string before = read_file(file);
    write_file_atomically(file, content);
    const std::string message = error_of([&] { prepare(options, folder); });
    write_file_atomically(file, before);
    EXPECT_CONTAINS(message, "run again to rebuild");
    EXPECT_CONTAINS(message, made.string());
    return message;
  };
  std::string bad = good;
  bad[good.size() / 2] = static_cast<char>(bad[good.size() / 2] ^ 1);
  EXPECT_CONTAINS(error_with(shard, bad), "checksum");
  EXPECT_CONTAINS(error_with(shard, good.substr(0, good.size() / 2)), "ends early");
  EXPECT_CONTAINS(error_with(shard, good + "x"), "ends early or is damaged");
  EXPECT_CONTAINS(error_with(shard, "short"), "too short");
  EXPECT_CONTAINS(error_with(shard, "X" + good.substr(1)), "not a token shard");
  bad = good;
  bad[8] = 9;
  EXPECT_CONTAINS(error_with(shard, bad), "version");
  EXPECT_CONTAINS(error_with(manifest, "{"), "not valid JSON");
  EXPECT_CONTAINS(error_with(manifest, "{}"), "manifest.json is damaged");
  EXPECT_CONTAINS(error_with(shard, read_file(made / "valid-00000.tokens")), "not the one that was written");
  fs::remove(shard);
  EXPECT_CONTAINS(error_of([&] { prepare(options, folder); }), "cannot open");
  fs::remove_all(made);  // what the messages advise
  EXPECT_FALSE(prepare(options, folder).report.from_cache);
  EXPECT_EQ(read_file(shard), good);
  EXPECT_EQ(read_file(manifest), good_manifest);
}

// Runs body in a child process, which must not return.
template <class F>
pid_t spawn(F body) {
  const pid_t child = ::fork();
  if (child != 0) return child;
  int status = 1;
  try {
    body();
    status = 0;
  } catch (...) {
  }
  ::_exit(status);
}

TEST(Cache, KilledBuildersLeaveNothingThatIsRead) {
  const fs::path folder = fresh_folder();
  const DataOptions options{.train = {corpus(folder, 6000).string()}};
  fs::create_directories(folder / "cache");
  int killed = 0;
  for (int i = 0; i < 20; ++i) {
    const pid_t child = spawn([&] { prepare(options, folder); });
    ::usleep(static_cast<useconds_t>(1000 + i * 1500));
    ::kill(child, SIGKILL);
    int status = 0;
    ::waitpid(child, &status, 0);
    killed += WIFSIGNALED(status);
  }
  EXPECT_GT(killed, 0);
  const PreparedData data = prepare(options, folder);
  EXPECT_EQ(data.report.train_documents + data.report.valid_documents, 6000);
  // A builder that died between its first shard and the rename.
  fs::rename(folder / "cache" / data.key, folder / "cache" / (data.key + ".partial"));
  fs::remove(folder / "cache" / (data.key + ".partial") / "manifest.json");
  EXPECT_FALSE(prepare(options, folder).report.from_cache);
  EXPECT_FALSE(fs::exists(folder / "cache" / (data.key + ".partial")));
}

TEST(Cache, TwoProcessesAtOnceBuildOnce) {
  const fs::path folder = fresh_folder();
  const DataOptions options{.train = {corpus(folder, 6000).string()}};
  std::vector<pid_t> children;
  for (int i = 0; i < 4; ++i) {
    children.push_back(spawn([&] {
      const PreparedData data = prepare(options, folder, 1);
      if (!data.report.from_cache) write_file_atomically(folder / ("built" + std::to_string(::getpid())), "");
      if (data.report.train_documents + data.report.valid_documents != 6000) ::_exit(2);
    }));
  }
  for (const pid_t child : children) {
    int status = 0;
    ::waitpid(child, &status, 0);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
  }
  int builders = 0;
  for (const auto& entry : fs::directory_iterator(folder))
    builders += entry.path().filename().string().starts_with("built");
  EXPECT_EQ(builders, 1);
}

TEST(Prepare, SharedTextWhenItIsThere) {
  const fs::path text = fs::path(FRUGAL_SOURCE_DIR) / "../shared/data/text";
  if (!fs::exists(text)) GTEST_SKIP() << "no ../shared/data/text";
  const fs::path folder = fresh_folder();
  const PreparedData data = prepare(
      {.train = {(text / "train.jsonl").string()}, .valid = {(text / "valid.jsonl").string()}}, folder);
  EXPECT_EQ(data.report.train_tokens, data.report.train_bytes);
  EXPECT_GT(data.report.train_documents, 1000);
}

}  // namespace
}  // namespace frugal
