// What tests of the program share: a tiny model with a tokenizer, and ways to run and to fail.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "cli/process.h"
#include "core/json.h"
#include "io/model_files.h"
#include "kernels/dispatch.h"
#include "models/model.h"
#include "text/bpe_trainer.h"

namespace frugal {

// One tiny model with a tokenizer, made once; a scratch folder per test.
class CommandLine : public testing::Test {
 protected:
  static inline fs::path root_;
  fs::path dir_;

  static void SetUpTestSuite() {
    root_ = fs::temp_directory_path() /
            fmt::format("frugal_cli_{}_{}", ::getpid(),
                        testing::UnitTest::GetInstance()->current_test_suite()->name());
    fs::create_directories(root_ / "run" / "model");
    const fs::path model = root_ / "run" / "model";
    ThreadPool pool(2);
    Context ctx{pool, kernels::best()};
    BpeTrainer trainer({.vocab_size = 300}, pool);
    for (int i = 0; i < 20; ++i)
      trainer.add(fmt::format("Once upon a time there were {} small boats on the sea.", i));
    const Tokenizer tokenizer = trainer.train();
    tokenizer.save(model);
    Json config = preset_config("nano");
    config["vocab_size"] = 304;  // more than the tokenizer has, as published models do
    config["max_position_embeddings"] = 256;
    config["num_hidden_layers"] = 2;
    const auto net = create_model(config);
    initialise(ctx, *net, 3);
    GenerationConfig generation;
    generation.eos_token_id = {*tokenizer.eos_id()};
    save_model(model, *net, generation);
  }
  static void TearDownTestSuite() { fs::remove_all(root_); }

  void SetUp() override {
    dir_ = root_ / testing::UnitTest::GetInstance()->current_test_info()->name();
    fs::create_directories(dir_);
  }
  static std::string model() { return (root_ / "run").string(); }

  Finished run(const std::vector<std::string>& arguments, const std::string& input = "",
               std::vector<std::string> variables = {}) const {
    variables.push_back("HOME=" + dir_.string());
    return run_program(dir_, arguments, input, variables);
  }
  // Fails as it should: nothing on stdout, one line on stderr.
  std::string error(int code, const std::vector<std::string>& arguments, const std::string& input = "",
                    const std::vector<std::string>& variables = {}) const {
    const Finished done = run(arguments, input, variables);
    EXPECT_EQ(done.code, code) << done.err;
    EXPECT_EQ(done.out, "") << done.err;
    EXPECT_TRUE(done.err.starts_with("frugal: ")) << done.err;
    EXPECT_EQ(std::ranges::count(done.err, '\n'), 1) << done.err;
    EXPECT_TRUE(done.err.ends_with('\n')) << done.err;
    return done.err;
  }
  // Succeeds with one JSON object on stdout and nothing else.
  Json json(std::vector<std::string> arguments, const std::string& input = "") const {
    arguments.push_back("--json");
    const Finished done = run(arguments, input);
    EXPECT_EQ(done.code, 0) << done.err;
    EXPECT_EQ(std::ranges::count(done.out, '\n'), 1) << done.out;
    return parse_json(done.out, "stdout");
  }
  std::string file(const std::string& name, const std::string& content) const {
    write_file_atomically(dir_ / name, content);
    return (dir_ / name).string();
  }
};

inline void expect_contains(const std::string& text, const std::string& part) {
  EXPECT_NE(text.find(part), std::string::npos) << text << " lacks " << part;
}

}  // namespace frugal
