// Formats of keys and values, drafts and profiles from the command line.
#include <set>

#include "cli/command_line.h"

namespace frugal {
namespace {

using Inference = CommandLine;

constexpr const char* kRepeating = "boats on the sea, boats on the sea, boats on the sea, boats on the";

TEST_F(Inference, DraftsChangeNothingButAreReported) {
  for (const char* temperature : {"0", "0.8"}) {
    const std::vector<std::string> usual{"generate", model(),  "-p",        kRepeating, "-n",
                                         "40",       "--temp", temperature, "--seed",   "4"};
    std::vector<std::string> plain = usual, drafting = usual;
    plain.insert(plain.end(), {"--draft", "off"});
    drafting.insert(drafting.end(), {"--draft", "lookup", "--draft-max", "4"});
    const Json expected = json(plain), got = json(drafting);
    EXPECT_EQ(got["ids"], expected["ids"]);
    EXPECT_FALSE(expected.contains("draft"));
    EXPECT_TRUE(json(usual).contains("draft")) << "lookup is the default";
    const Json& draft = got["draft"];
    EXPECT_GT(draft["passes"].get<int>(), 0);
    EXPECT_GE(draft["drafted"], draft["accepted"]);
    EXPECT_GT(draft["speedup"].get<double>(), 0);
    EXPECT_GT(draft["predicted_speedup"].get<double>(), 0);
  }
}

TEST_F(Inference, ImpossibleDraftsAreOneLine) {
  const auto with = [&](const char* flag, const char* value) {
    return error(2, {"generate", model(), "-p", "x", flag, value});
  };
  expect_contains(with("--draft", "ngram"), "expected lookup, mtp or off");
  expect_contains(with("--draft", "mtp"), "no multi-token-prediction layer");
  expect_contains(error(2, {"generate", model(), "-p", "x", "--draft", "lookup", "--draft-max", "0"}),
                  "expected 1 to");
}

TEST_F(Inference, KeysAndValuesTakeTheFormatAsked) {
  const std::string text =
      file("text.txt", "Once upon a time there were 7 small boats on the sea. And then 8.");
  const auto ppl = [&](std::vector<std::string> more) {
    std::vector<std::string> arguments{"perplexity", model(), text};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return json(arguments)["ppl"].get<double>();
  };
  const double exact = ppl({}), f32 = ppl({"--kv-format", "f32"}), bf16 = ppl({"--kv-format", "bf16"});
  EXPECT_NEAR(f32, exact, 1e-5 * exact);
  EXPECT_NEAR(bf16, exact, 1e-2 * exact);
  EXPECT_NE(bf16, f32);
  EXPECT_EQ(
      json({"bench", model(), "-p", "8", "-n", "2", "--repeat", "1", "--kv-format", "f32"})["kv_format"],
      "f32");
  for (const char* verb : {"generate", "bench"}) {
    std::vector<std::string> arguments{verb, model(), "--kv-format", "q4_0"};
    if (std::string(verb) == "generate") arguments.insert(arguments.end(), {"-p", "x"});
    expect_contains(error(2, arguments), "expected f32, bf16 or q8_0");
  }
  expect_contains(error(2, {"generate", model(), "-p", "x", "--kv-format", "q8_0"}), "use bf16");
}

TEST_F(Inference, ProfilesAccountForTheTime) {
  const auto check = [](const Json& phase) {
    // How much of a phase of milliseconds is in ops depends on what else the machine does; which ops does
    // not.
    EXPECT_GT(phase["accounted"].get<double>(), 0) << phase;
    EXPECT_TRUE(std::ranges::any_of(phase["ops"], [](const Json& op) { return op["op"] == "linear"; }))
        << phase;
    EXPECT_LE(phase["accounted"].get<double>(), 1.0) << phase;
    double sum = 0, last = 1e9;
    for (const Json& op : phase["ops"]) {
      EXPECT_GT(op["calls"].get<int>(), 0);
      EXPECT_LE(op["seconds"].get<double>(), last) << "most time first";
      last = op["seconds"];
      sum += op["share"].get<double>();
    }
    EXPECT_NEAR(sum, phase["accounted"].get<double>(), 1e-9);
  };
  const Json reply = json({"generate", model(), "-p", "Once", "-n", "8", "--profile"});
  ASSERT_EQ(reply["profile"].size(), 2u);
  EXPECT_EQ(reply["profile"][0]["phase"], "prompt");
  EXPECT_EQ(reply["profile"][1]["phase"], "reply");
  for (const Json& phase : reply["profile"]) check(phase);
  const Json train = json(
      {"bench", "train", "--preset", "nano", "-b", "1", "-t", "16", "--steps", "1", "--profile", "--quiet"});
  std::set<std::string> names;
  for (const Json& phase : train["profile"]) {
    names.insert(phase["phase"]);
    if (phase["phase"] != "update") check(phase);
  }
  EXPECT_EQ(names, (std::set<std::string>{"forward", "backward", "update"}));
  const Finished table = run({"generate", model(), "-p", "Once", "-n", "4", "--profile"});
  expect_contains(table.err, "GFLOP/s");
  expect_contains(table.err, "in these ops");
  EXPECT_FALSE(json({"generate", model(), "-p", "Once", "-n", "4"}).contains("profile"));
}

}  // namespace
}  // namespace frugal
