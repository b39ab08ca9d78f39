// Every fuzz target on its kept inputs and on seeded changes of them, in a second or so; `./dev fuzz` looks
// longer.
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "core/files.h"
#include "core/rng.h"
#include "meter.h"
#include "targets.h"

namespace frugal::fuzz {
namespace {

using namespace std::string_view_literals;

std::vector<fs::path> files_of(std::string_view target) {
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(fs::path(FRUGAL_SOURCE_DIR) / "fuzz/corpus" / target)) {
    files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  return files;
}

std::string changed(const std::vector<std::string>& seeds, Rng& rng) {
  static constexpr std::string_view kBytes = "\0\xFF\x7F\x80\"'[]{}(),:.*+?|\\ \n019-aeN%<>\x1E"sv;
  std::string text = seeds[rng.below(seeds.size())];
  for (uint64_t n = 1 + rng.below(4); n > 0; --n) {
    const size_t at = rng.below(text.size() + 1), length = std::min<size_t>(rng.below(16), text.size() - at);
    switch (rng.below(6)) {
      case 0:  // a byte
        if (at < text.size()) text[at] = kBytes[rng.below(kBytes.size())];
        break;
      case 1:  // a bit
        if (at < text.size()) text[at] = static_cast<char>(text[at] ^ (1 << rng.below(8)));
        break;
      case 2:
        text.erase(at, length);
        break;
      case 3:
        text.insert(at, text.substr(rng.below(text.size() + 1), rng.below(16)));
        break;
      case 4:  // numbers that overflow, as text and as bytes
        text.insert(at, rng.below(2) ? "9223372036854775807" : "4294967296");
        break;
      default:
        text.replace(at, std::min<size_t>(8, text.size() - at), 8, rng.below(2) ? '\xFF' : '\x7F');
    }
  }
  return text;
}

class Fuzz : public testing::TestWithParam<Target> {
 protected:
  // What is kept from the first run on (tables, tokenizers) is nobody's input.
  void run(const std::string& input, const std::string& what) {
    const Target& target = GetParam();
    reset_peak();
    try {
      target.run(input);
    } catch (const std::exception& error) {
      ADD_FAILURE() << what << ": " << error.what();
    }
    EXPECT_LE(peak_bytes(), target.memory + target.memory_times * input.size()) << what;
  }
};

TEST_P(Fuzz, KeptInputsAndTheirChanges) {
  std::vector<std::string> seeds;
  for (const fs::path& file : files_of(GetParam().name)) {
    seeds.push_back(read_file(file));
    run(seeds.back(), file.filename().string());
  }
  ASSERT_GT(seeds.size(), 2u);
  Rng rng(20);
  for (int i = 0; i < 400; ++i) run(changed(seeds, rng), "change " + std::to_string(i));
}

INSTANTIATE_TEST_SUITE_P(Targets, Fuzz, testing::ValuesIn(all_targets().begin(), all_targets().end()),
                         [](const auto& target) { return std::string(target.param.name); });

TEST(FuzzTargets, EachHasItsFolderOfInputs) {
  std::set<std::string> folders, names;
  for (const auto& entry : fs::directory_iterator(fs::path(FRUGAL_SOURCE_DIR) / "fuzz/corpus")) {
    folders.insert(entry.path().filename().string());
  }
  for (const Target& target : all_targets()) names.insert(std::string(target.name));
  EXPECT_EQ(folders, names);
}

}  // namespace
}  // namespace frugal::fuzz
