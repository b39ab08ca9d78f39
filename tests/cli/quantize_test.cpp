// frugal quantize: files, mixes, importance matrices, and the report on them.
#include "cli/command_line.h"
#include "io/gguf.h"

namespace frugal {
namespace {

class QuantizeVerb : public CommandLine {
 protected:
  std::string out(const std::string& name) const { return (dir_ / name).string(); }
  std::string text() const {
    std::string all;
    for (int i = 0; i < 20; ++i) all += fmt::format("Once upon a time there were {} small boats. ", i);
    return file("text.txt", all);
  }
};

TEST_F(QuantizeVerb, WritesWhatConvertWrites) {
  EXPECT_EQ(run({"quantize", model(), out("a.gguf"), "--type", "q8_0"}).code, 0);
  EXPECT_EQ(run({"convert", model(), out("b.gguf"), "--format", "q8_0"}).code, 0);
  EXPECT_EQ(read_file(out("a.gguf")), read_file(out("b.gguf")));
  EXPECT_EQ(run({"quantize", model(), out("dir"), "--type", "bf16"}).code, 0);
  EXPECT_EQ(run({"generate", out("dir"), "-p", "Once", "-n", "2"}).code, 0);
}

TEST_F(QuantizeVerb, ReportsSeveralTypesAtOnce) {
  const Json json = this->json({"quantize", model(), out("m-{type}.gguf"), "--type", "f32,q8_0,q4_0,q4_k_m",
                                "--report", text(), "--context", "64"});
  ASSERT_EQ(json["types"].size(), 4u);
  EXPECT_EQ(json["context"], 64);
  for (const Json& type : json["types"]) {
    EXPECT_TRUE(fs::exists(type["out"].get<std::string>()));
    EXPECT_EQ(type["bytes"], fs::file_size(type["out"].get<std::string>()));
  }
  const auto kl = [&](size_t i) { return json["types"][i]["kl"].get<double>(); };
  EXPECT_LT(kl(0), 1e-9);
  EXPECT_NEAR(json["types"][0]["ppl"].get<double>(), json["ppl"].get<double>(),
              1e-6 * json["ppl"].get<double>());
  EXPECT_LT(kl(0), kl(1));
  EXPECT_LT(kl(1), kl(2));
  // As perplexity says it.
  const Json alone = this->json({"perplexity", out("m-q4_0.gguf"), text(), "--context", "64"});
  EXPECT_NEAR(json["types"][2]["ppl"].get<double>(), alone["ppl"].get<double>(),
              1e-4 * alone["ppl"].get<double>());
  EXPECT_EQ(json["tokens"], alone["tokens"]);
  const Finished table = run({"quantize", model(), "--type", "q8_0,q4_0", "--report", text(), "--quiet"});
  EXPECT_EQ(table.code, 0) << table.err;
  EXPECT_EQ(std::ranges::count(table.out, '\n'), 4);  // nothing but a head, the original and two types
  expect_contains(table.out, "perplexity");
}

TEST_F(QuantizeVerb, Fp8DirectoriesAreReportedToo) {
  const Json json = this->json({"quantize", model(), out("m-{type}"), "--type", "bf16,f8_e4m3", "--report",
                                text(), "--context", "64"});
  EXPECT_LT(json["types"][1]["bytes"], json["types"][0]["bytes"]);
  EXPECT_GT(json["types"][1]["kl"], json["types"][0]["kl"]);
  EXPECT_EQ(run({"generate", out("m-f8_e4m3"), "-p", "Once", "-n", "2"}).code, 0);
  const Finished table = run({"quantize", model(), "--type", "f8_e4m3,q8_0", "--report", text(), "--quiet"});
  EXPECT_EQ(table.code, 0) << table.err;
}

TEST_F(QuantizeVerb, ImportanceMatricesAreMadeKeptAndRead) {
  const std::string kept = out("i.gguf");
  EXPECT_EQ(run({"quantize", model(), out("a.gguf"), "--type", "q4_0", "--calibrate", text(),
                 "--save-imatrix", kept})
                .code,
            0);
  EXPECT_EQ(run({"quantize", model(), out("b.gguf"), "--type", "q4_0", "--imatrix", kept}).code, 0);
  EXPECT_EQ(run({"quantize", model(), out("c.gguf"), "--type", "q4_0"}).code, 0);
  EXPECT_NE(read_file(out("a.gguf")), read_file(out("c.gguf")));
  const Json plain = json({"quantize", model(), "--type", "q4_0", "--report", text()}),
             weighted = json({"quantize", model(), "--type", "q4_0", "--report", text(), "--imatrix", kept});
  EXPECT_NE(plain["types"][0]["kl"], weighted["types"][0]["kl"]);
}

TEST_F(QuantizeVerb, MixesGiveTheHeadMore) {
  EXPECT_EQ(run({"quantize", model(), out("a.gguf"), "--type", "q4_k_m"}).code, 0);
  const GgufFile file(out("a.gguf"));
  const auto bits = [&](const std::string& name) {
    const GgufEntry* entry = file.find(name);
    EXPECT_NE(entry, nullptr) << name;
    return entry == nullptr
               ? 0
               : static_cast<double>(entry->format->block_bytes) / static_cast<double>(entry->format->block);
  };
  const std::string head = file.find("output.weight") != nullptr ? "output.weight" : "token_embd.weight";
  EXPECT_GT(bits(head), bits("blk.0.attn_q.weight"));
}

TEST_F(QuantizeVerb, MistakesAreSaid) {
  expect_contains(error(2, {"quantize", model(), out("a.gguf")}), "--type");
  expect_contains(error(2, {"quantize", model(), out("a.gguf"), "--type", "q9"}),
                  "'q9': expected one of f32, ");
  expect_contains(error(2, {"quantize", model(), out("a.gguf"), "--type", "q8_0,"}), "''");
  expect_contains(error(2, {"quantize", model(), "--type", "q8_0"}), "where to write");
  expect_contains(error(2, {"quantize", model(), out("a.gguf"), "--type", "q8_0,q4_0"}), "{type}");
  expect_contains(error(2, {"quantize", model(), out("dir"), "--type", "q8_0", "--quiet"}),
                  "f32, bf16 or f8_e4m3");
  expect_contains(error(2, {"quantize", model(), out("dir"), "--type", "q4_k_m"}), ".gguf");
  expect_contains(
      error(2, {"quantize", model(), out("a.gguf"), "--type", "q8_0", "--save-imatrix", out("i")}),
      "--calibrate");
  expect_contains(error(1, {"quantize", model(), out("a.gguf"), "--type", "q8_0", "--imatrix", out("none")}),
                  "none");
  expect_contains(
      error(2, {"quantize", model(), out("a.gguf"), "--type", "q8_0", "--report", text(), "--context", "0"}),
      "--context 0");
  EXPECT_EQ(run({"convert", model(), out("m.gguf")}).code, 0);
  expect_contains(
      error(1, {"quantize", model(), out("a.gguf"), "--type", "q8_0", "--imatrix", out("m.gguf")}),
      "not an importance matrix");
  expect_contains(error(2, {"quantize", out("m.gguf"), out("m.gguf"), "--type", "q8_0"}), "over itself");
}

}  // namespace
}  // namespace frugal
