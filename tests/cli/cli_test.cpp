// The program as its users run it: exit codes, one-line errors, clean JSON, hostile input.
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "cli/command_line.h"
#include "cli/info.h"
#include "cli/verbs.h"
#include "meter/ledger.h"

namespace frugal {
namespace {

TEST_F(CommandLine, VersionTellsVersionCommitAndInstructionSet) {
  const Finished done = run({"--version"}, "", {"FRUGAL_KERNELS=scalar"});
  EXPECT_EQ(done.code, 0);
  EXPECT_TRUE(done.out.starts_with("frugal 0.")) << done.out;
  expect_contains(done.out, "commit ");
  expect_contains(done.out, "scalar");
  expect_contains(error(2, {"--version"}, "", {"FRUGAL_KERNELS=avx3"}), "avx3");
  expect_contains(error(2, {"bench", "machine"}, "", {"FRUGAL_KERNELS=avx3"}), "avx3");
}

TEST_F(CommandLine, HelpListsEveryVerb) {
  const Finished help = run({"--help"});
  EXPECT_EQ(help.code, 0);
  for (const cli::Verb& verb : cli::all_verbs())
    expect_contains(help.out, fmt::format("\n  {:<31} {}\n", verb.name, verb.help));
}

TEST_F(CommandLine, WrongUsageIsExitCodeTwoWithTheNearestName) {
  expect_contains(error(2, {}), "no verb");
  expect_contains(error(2, {"generat"}), "did you mean 'generate'?");
  expect_contains(error(2, {"info", "--presett", "nano"}), "did you mean '--preset'?");
  expect_contains(error(2, {"info", "--preset", "nanoo"}), "nano");
  error(2, {"info"});
  error(2, {"info", "x", "--preset", "nano"});
  error(2, {"generate", model(), "-p", "x", "-n", "many"});
  error(2, {"generate", model(), "-p", "x", "-n", "-1"});
  error(2, {"tokenizer"});
  error(2, {"bench", "nothing", "more"});
  error(2, {"logits", model()});
}

TEST_F(CommandLine, ImpossibleThreadCountsAreErrors) {
  for (const char* threads : {"0", "-1", "100000", "99999999999999999999", "two", ""}) {
    error(2, {"generate", model(), "-p", "x", "--threads", threads});
  }
  EXPECT_EQ(run({"generate", model(), "-p", "x", "-n", "2", "--threads", "64"}).code, 0);
}

TEST_F(CommandLine, OutputThatCannotBeWrittenIsAFailure) {
  const std::string command = std::string(FRUGAL_PROGRAM) + " --version >/dev/full 2>/dev/null";
  EXPECT_EQ(WEXITSTATUS(std::system(command.c_str())), 1);
  const std::string piped =
      std::string(FRUGAL_PROGRAM) + " generate " + model() + " -p x -n 200 2>/dev/null | true";
  EXPECT_EQ(WEXITSTATUS(std::system(piped.c_str())), 0);
}

TEST_F(CommandLine, InfoOfPublishedModels) {
  const Json v3 = json({"info", "--preset", "v3-671b", "--context", "4096"});
  EXPECT_EQ(v3["architecture"], "deepseek_v3");
  EXPECT_NEAR(v3["parameters"].get<double>() / 1e9, 671.03, 0.005);
  EXPECT_NEAR(v3["mtp_parameters"].get<double>() / 1e9, 11.61, 0.005);
  EXPECT_NEAR(v3["active_parameters"].get<double>() / 1e9, 36.62, 0.005);
  EXPECT_EQ(v3["kv_bytes_per_token"], 70272);
  EXPECT_NEAR(v3["flops_per_token"]["training"].get<double>() / 1e9, 250.4, 0.05);
  EXPECT_NEAR(v3["flops_per_token"]["forward"].get<double>() * 3,
              v3["flops_per_token"]["training"].get<double>(), 1);
  const Json lite = json({"info", "--preset", "v2-lite"});
  EXPECT_NEAR(lite["parameters"].get<double>() / 1e9, 15.71, 0.005);
  EXPECT_NEAR(lite["active_parameters"].get<double>() / 1e9, 2.45, 0.005);
  EXPECT_NEAR(lite["embedding_parameters"].get<double>() / 1e9, 0.21, 0.005);
  EXPECT_EQ(lite["kv_bytes_per_token"], 31104);
}

TEST_F(CommandLine, InfoOfAModelOnDisk) {
  const Json info = json({"info", model(), "--context", "100"});
  EXPECT_EQ(info, cli::model_info(*declare_model(root_ / "run" / "model"), 100));
  EXPECT_EQ(info["memory_bytes"]["f32"].get<int64_t>(), info["parameters"].get<int64_t>() * 4);
  const Finished table = run({"info", model()});
  expect_contains(table.out, "deepseek_v3");
  error(2, {"info", model(), "--context", "0"});
}

TEST_F(CommandLine, GenerateStreamsWhatJsonReports) {
  const std::vector<std::string> arguments{"generate", model(), "-p", "Once upon", "-n", "12", "--seed", "5"};
  const Json j = json(arguments);
  EXPECT_EQ(j["ids"].size(), 12u);
  EXPECT_EQ(j["finish_reason"], "length");
  EXPECT_GT(j["tok_s"].get<double>(), 0);
  EXPECT_EQ(j, [&] {
    Json again = json(arguments);
    for (const char* key : {"tok_s", "prefill_seconds", "decode_seconds"}) again[key] = j[key];
    return again;
  }());
  const Finished plain = run(
      {"generate", model(), "-p", "-", "-n", "12", "--seed", "5", "--threads", "3", "--quiet"}, "Once upon");
  EXPECT_EQ(plain.err, "");
  EXPECT_EQ(to_text(Json(plain.out)), to_text(Json(j["text"].get<std::string>() + "\n")));
}

TEST_F(CommandLine, GenerateIsGreedyAtTemperatureZero) {
  const std::vector<std::string> a{"generate", model(),  "-p", "boats",     "-n",
                                   "8",        "--temp", "0",  "--compute", "exact"};
  std::vector<std::string> b = a;
  b.insert(b.end(), {"--seed", "9", "--threads", "1"});
  EXPECT_EQ(json(a)["ids"], json(b)["ids"]);
}

TEST_F(CommandLine, GenerateEndsBeforeItsStopString) {
  const std::vector<std::string> base{"generate", model(), "-p", "Once", "-n", "30", "--temp", "0"};
  const std::string all = json(base)["text"];
  size_t at = all.size() / 2;  // an ASCII pair from the middle of the text
  while (at + 2 < all.size() && !(std::isprint(all[at]) && std::isprint(all[at + 1]))) ++at;
  ASSERT_LT(at + 2, all.size()) << all;
  const std::string stop = all.substr(at, 2);
  std::vector<std::string> arguments = base;
  arguments.insert(arguments.end(), {"--stop", "never there", "--stop", stop});
  const Json j = json(arguments);
  EXPECT_EQ(j["finish_reason"], "stop");
  EXPECT_EQ(j["text"], all.substr(0, all.find(stop)));
  EXPECT_LT(j["ids"].size(), 30u);
  error(2, {"generate", model(), "-p", "x", "--stop", ""});
}

TEST_F(CommandLine, GenerateTakesAnyPrompt) {
  EXPECT_EQ(json({"generate", model(), "-p", "", "-n", "3"})["prompt_tokens"], 1);  // BOS alone
  EXPECT_EQ(
      json({"generate", model(), "-p", "\xff\xfe\x80 bad \xc3", "-n", "3", "--seed", "1"})["ids"].size(), 3u);
  EXPECT_EQ(json({"generate", model(), "-n", "3", "--seed", "1"}, "from a pipe")["ids"].size(), 3u);
  EXPECT_EQ(json({"generate", model(), "-p", "-n", "-n", "3"}).is_object(), true);
  EXPECT_EQ(json({"generate", model(), "--prompt=", "-n", "3"})["prompt_tokens"], 1);
  const std::string longer(5000, 'q');
  expect_contains(error(1, {"generate", model(), "-p", longer}), "context");
  expect_contains(error(2, {"generate", model(), "-p", "x", "--context", "300"}), "256");
}

TEST_F(CommandLine, SamplingFlagsAreChecked) {
  for (const std::vector<std::string>& flags :
       std::vector<std::vector<std::string>>{{"--temp", "-1"},
                                             {"--temp", "nan"},
                                             {"--temp", "inf"},
                                             {"--top-p", "2"},
                                             {"--top-k", "-3"},
                                             {"--min-p", "7"},
                                             {"--repetition-penalty", "0"},
                                             {"--seed", "x"},
                                             {"--compute", "slow"},
                                             {"--context", "-5"}}) {
    std::vector<std::string> arguments{"generate", model(), "-p", "x"};
    arguments.insert(arguments.end(), flags.begin(), flags.end());
    error(2, arguments);
  }
}

TEST_F(CommandLine, MissingAndBrokenModelsAreOneLine) {
  for (const char* verb : {"generate", "chat", "perplexity", "bench", "info"}) {
    std::vector<std::string> arguments{verb, "/no/such/model"};
    if (std::string(verb) == "perplexity") arguments.push_back("x.txt");
    expect_contains(error(1, arguments), "/no/such/model");
  }
  error(1, {"info", "line\nbreak"});
  const fs::path copy = dir_ / "copy";
  fs::copy(root_ / "run" / "model", copy);
  fs::resize_file(copy / "model.safetensors", fs::file_size(copy / "model.safetensors") / 2);
  expect_contains(error(1, {"generate", copy.string(), "-p", "x"}), "model.safetensors");
  write_file_atomically(copy / "config.json", "{\"model_type\": \"deepseek_v3\", \"hidden_size\": -1}");
  expect_contains(error(1, {"info", copy.string()}), "hidden_size");
  fs::remove(copy / "tokenizer.json");
  expect_contains(error(1, {"tokenizer", "encode", copy.string(), "--text", "x"}), "tokenizer.json");
}

TEST_F(CommandLine, TokenizerRoundTripsBytes) {
  const std::string text("any bytes: \xff\x00 caf\xc3\xa9\n", 20);
  const std::string path = file("text", text);
  const Json ids = json({"tokenizer", "encode", model(), "--file", path});
  const Json bare = json({"tokenizer", "encode", model(), "--no-special"}, text);
  EXPECT_EQ(ids["ids"].size(), bare["ids"].size() + 1);  // BOS
  const std::string saved = file("ids.json", to_text(bare));
  const Finished back = run({"tokenizer", "decode", model(), "--ids", saved});
  EXPECT_EQ(back.code, 0);
  EXPECT_EQ(back.out, text);
  expect_contains(error(1, {"tokenizer", "decode", model(), "--ids", file("big", "[303]")}), "303");
  error(1, {"tokenizer", "encode", model(), "--file", "/no/such/file"});
  error(2, {"tokenizer", "encode", model(), "--file", path, "--text", "x"});
}

TEST_F(CommandLine, TokenizerIsTrainedFromFiles) {
  const std::string text =
      file("train.jsonl", "{\"text\": \"one two one two one two\"}\n{\"text\": \"two one\"}\n");
  const std::string out = (dir_ / "tok").string();
  const Json j = json({"tokenizer", "train", text, "--out", out, "--vocab", "274"});
  EXPECT_EQ(j["documents"], 2);
  EXPECT_EQ(json({"tokenizer", "encode", out, "--text", "one", "--no-special"})["ids"].size(), 1u);
  error(2, {"tokenizer", "train", text, "--out", out, "--vocab", "10"});
  error(1, {"tokenizer", "train", "/no/such/file.txt", "--out", out});
  error(1, {"tokenizer", "train", file("empty.txt", ""), "--out", out});
}

TEST_F(CommandLine, LogitsAreWrittenAsNpy) {
  const std::string out = (dir_ / "logits.npy").string();
  const Json j = json({"logits", model(), "--ids", file("ids.json", "[[1, 2, 3], [4]]"), "--out", out});
  EXPECT_EQ(j["shape"], (std::vector<int64_t>{4, 304}));
  const std::string npy = read_file(out);
  expect_contains(npy, "'shape': (4, 304), ");
  const size_t data = npy.size() - size_t{4} * 304 * 4;
  const std::string one = (dir_ / "one.npy").string();
  EXPECT_EQ(run({"logits", model(), "--ids", "-", "--out", one}, "{\"ids\": [4]}").code, 0);
  const std::string row = read_file(one);
  EXPECT_EQ(npy.substr(data + size_t{3} * 304 * 4), row.substr(row.size() - 304 * 4));  // sequences are apart
}

TEST_F(CommandLine, HostileIdsAreOneLine) {
  const std::string out = (dir_ / "never.npy").string();
  for (const char* ids : {"",
                          "[]",
                          "[[]]",
                          "[[1], []]",
                          "{}",
                          "{\"ids\": 3}",
                          "[1, -2]",
                          "[1, 2.5]",
                          "[1, \"2\"]",
                          "[304]",
                          "[99999999999999999999]",
                          "[18446744073709551615]",
                          "[1, [2]]",
                          "[[1], 2]",
                          "nope",
                          "[1,",
                          "\xff",
                          "null",
                          "[null]",
                          "[4294967297]"}) {
    error(1, {"logits", model(), "--ids", file("ids.json", ids), "--out", out});
  }
  const std::string deep = std::string(100000, '[') + std::string(100000, ']');
  error(1, {"logits", model(), "--ids", file("ids.json", deep), "--out", out});
  std::string many = "[1";
  for (int i = 0; i < 256; ++i) many += ",1";
  expect_contains(error(1, {"logits", model(), "--ids", file("ids.json", many + "]"), "--out", out}), "256");
  EXPECT_FALSE(fs::exists(out));
  error(1, {"logits", model(), "--ids", file("ids.json", "[1]"), "--out", "/no/such/place.npy"});
}

TEST_F(CommandLine, PerplexityCountsAllOfTheText) {
  const std::string text = "Once upon a time there were 3 small boats on the sea.";
  const std::string path =
      file("text.jsonl", fmt::format("{{\"text\": \"{}\"}}\n{{\"text\": \"the sea\"}}\n", text));
  const Json j = json({"perplexity", model(), path, "--context", "8"});
  const size_t tokens =
      json({"tokenizer", "encode", model(), "--text", text, "--no-special"})["ids"].size() +
      json({"tokenizer", "encode", model(), "--text", "the sea", "--no-special"})["ids"].size();
  EXPECT_EQ(j["tokens"], tokens + 2);  // with an EOS each
  EXPECT_EQ(j["bytes"], text.size() + 7);
  const double nll = j["nll"];
  EXPECT_NEAR(nll, std::log(304), 0.5);  // an untrained model knows nothing
  EXPECT_NEAR(j["ppl"].get<double>(), std::exp(nll), 1e-6);
  EXPECT_NEAR(j["bits_per_byte"].get<double>(),
              nll * j["tokens"].get<double>() / j["bytes"].get<double>() / std::log(2), 1e-9);
  error(2, {"perplexity", model(), path, "--context", "257"});
  error(1, {"perplexity", model(), file("empty.txt", "")});
  error(1, {"perplexity", model(), file("bad.txt", "\xff\xff")});
  error(1, {"perplexity", model(), file("bad.jsonl", "{\"text\": 3}")});
  error(1, {"perplexity", model(), dir_.string() + "/missing.txt"});
}

TEST_F(CommandLine, ChatTalksOverPipes) {
  const Finished done =
      run({"chat", model(), "-n", "6", "--seed", "1"}, "hello\n/reset\n\nhello\n/exit\nnever read\n");
  EXPECT_EQ(done.code, 0) << done.err;
  expect_contains(done.err, "base model");
  const std::vector<std::string> quiet{"chat", model(), "-n", "6", "--seed", "1", "--quiet"};
  const Finished again = run(quiet, "hello\n/reset\nhello\n");
  EXPECT_EQ(again.err, "");
  EXPECT_EQ(again.out, done.out);
  ASSERT_EQ(again.out.size() % 2, 0u);
  EXPECT_EQ(again.out.substr(0, again.out.size() / 2),
            again.out.substr(again.out.size() / 2));  // reset forgets
  std::string lines;
  for (int i = 0; i < 40; ++i) lines += "a line that makes the conversation longer than the context\n";
  const Finished many = run({"chat", model(), "-n", "8", "--system", "short"}, lines);
  EXPECT_EQ(many.code, 0) << many.err;
  expect_contains(many.err, "forgotten");
  EXPECT_EQ(run(quiet, "\xff\xfe\n").code, 0);
  EXPECT_EQ(run(quiet, "").out, "");
}

TEST_F(CommandLine, BenchReportsFractionsOfTheMachine) {
  const Json j = json({"bench", model(), "-p", "16", "-n", "4", "--repeat", "1"});
  for (const char* key :
       {"prefill_tok_s", "decode_tok_s", "bandwidth_fraction", "flops_fraction", "peak_memory_bytes"}) {
    EXPECT_GT(j[key].get<double>(), 0) << key;
  }
  const Json t = json({"bench", "train", "--preset", "nano", "-b", "2", "-t", "16", "--steps", "2"});
  for (const char* key : {"tok_s", "mfu", "peak_memory_bytes", "parameters"})
    EXPECT_GT(t[key].get<double>(), 0) << key;
  EXPECT_LT(t["mfu"].get<double>(), 1);
  error(2, {"bench", model(), "-p", "0"});
  error(2, {"bench", model(), "-p", "300"});
  error(2, {"bench", "train", "--preset", "nothing"});
  error(2, {"bench", "train", "--preset", "nano", "-b", "0"});
}

TEST_F(CommandLine, LedgerListsTotalsAndExports) {
  EXPECT_EQ(json({"ledger", "list"})["runs"].size(), 0u);  // nothing was spent yet
  EXPECT_EQ(json({"ledger", "total"})["totals"].size(), 0u);
  EXPECT_EQ(run({"ledger", "export", "--format", "json"}).out, "[]\n");
  const fs::path path = dir_ / ".local" / "share" / "frugal" / "ledger.sqlite";
  {
    fs::create_directories(path.parent_path());
    Ledger ledger(path);
    const int64_t id =
        ledger.begin_run({.verb = "train", .recipe = "r.toml", .output = "runs/a, b", .model = ""});
    Bill bill;
    bill.seconds = 12;
    bill.tokens = 1000;
    ledger.finish_run(id, RunStatus::done, bill);
  }
  const Json runs = json({"ledger", "list"})["runs"];
  ASSERT_EQ(runs.size(), 1u);
  EXPECT_EQ(runs[0]["verb"], "train");
  EXPECT_EQ(json({"ledger", "total", "--by", "verb"})["totals"][0]["seconds"], 12);
  expect_contains(run({"ledger", "export"}).out, "\"runs/a, b\"");
  expect_contains(run({"ledger", "list"}).out, "runs/a, b");
  EXPECT_EQ(json({"ledger", "list", "--verb", "run"})["runs"].size(), 0u);
  error(1, {"ledger", "list", "--file", (dir_ / "missing").string()});
  error(1, {"ledger", "total", "--file", file("ledger", "not a database")});
  error(2, {"ledger", "list", "--since", "yesterday"});
  error(2, {"ledger", "export", "--newest", "-1"});
  error(2, {"ledger", "export", "--format", "xml"});
  error(2, {"ledger", "total", "--by", "week"});
}

}  // namespace
}  // namespace frugal
