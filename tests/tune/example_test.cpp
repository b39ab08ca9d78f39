// Every layout of examples, and what is wrong with a line that has none of them.
#include "tune/example.h"

#include "tune/tune_fixture.h"

namespace frugal {
namespace {

Example parse(const std::string& line) {
  return parse_example({line, "data/a.jsonl", 12, true});
}
Json messages(const std::string& line) {
  return parse_json(parse(line).messages_json, "messages");
}

TEST(Example, EveryLayout) {
  const Json expected = {turn("user", "q"), turn("assistant", "a")};
  EXPECT_EQ(messages(R"({"messages":[{"role":"user","content":"q"},{"role":"assistant","content":"a"}]})"),
            expected);
  EXPECT_EQ(messages(R"({"conversations":[{"from":"human","value":"q"},{"from":"gpt","value":"a"}]})"),
            expected);
  EXPECT_EQ(messages(R"({"instruction":"q","output":"a"})"), expected);
  EXPECT_EQ(messages(R"({"instruction":"q","input":"","output":"a"})"), expected);
  EXPECT_EQ(messages(R"({"instruction":"q","input":"i","output":"a","system":"s"})"),
            Json({turn("system", "s"), turn("user", "q\n\ni"), turn("assistant", "a")}));
  const Example given = parse(
      R"({"prompt":[{"role":"user","content":"q"}],"completion":[{"role":"assistant","content":"a"}]})");
  EXPECT_EQ(parse_json(given.messages_json, "m"), expected);
  EXPECT_EQ(given.learnt_from, 1u);
  const Example plain = parse(R"({"prompt":"p","completion":"c"})");
  EXPECT_TRUE(plain.plain());
  EXPECT_EQ(plain.prompt + plain.completion, "pc");
}

TEST(Example, FurtherKeysOfMessagesAreKept) {
  const Json got = messages(
      R"({"messages":[{"role":"user","content":"q"},{"role":"assistant","content":null,"tool_calls":[{"name":"f"}]}]})");
  EXPECT_EQ(got[1]["tool_calls"][0]["name"], "f");
}

TEST(Example, MistakesNameFileLineAndField) {
  const std::pair<const char*, const char*> cases[] = {
      {R"({"text":"x","source":"y"})", "expected \"messages\", \"conversations\""},
      {R"({})", "found no fields"},
      {R"({"instruction":"q"})", "\"output\" is missing"},
      {R"({"instruction":"q","output":3})", "\"output\" should be a string, it is number"},
      {R"({"prompt":"q"})", "\"completion\" is missing"},
      {R"({"prompt":"q","completion":""})", "nothing to learn"},
      {R"({"messages":"x"})", "\"messages\" should be a list"},
      {R"({"messages":[]})", "\"messages\" should be a list"},
      {R"({"messages":[{"role":"user","content":"q"}]})", "no message of the role \"assistant\""},
      {R"({"messages":[{"role":"assistant"}]})", "messages[0]: \"content\" is missing"},
      {R"({"messages":[{"content":"x"}]})", "messages[0]: \"role\" is missing"},
      {R"({"messages":[5]})", "messages[0]: expected an object"},
      {R"({"conversations":[{"from":"alien","value":"q"}]})", "\"from\" is \"alien\""},
      {R"({"conversations":[{"from":"human"}]})", "conversations[0]: \"value\" is missing"},
      {R"({"prompt":[{"role":"user","content":"q"}],"completion":"a"})", "\"completion\" should be a list"},
      {R"([1])", "expected an object"},
      {"{\"instruction\": \"\xff\", \"output\": \"x\"}", "invalid UTF-8"},
      {R"({"instruction":)", "data/a.jsonl:12"},
  };
  for (const auto& [line, expected] : cases) {
    const std::string message = error_of([&, l = line] { parse(l); });
    EXPECT_TRUE(message.starts_with("data/a.jsonl:12")) << message;
    EXPECT_NE(message.find(expected), std::string::npos) << message << "\n lacks " << expected;
  }
}

TEST_F(TuneTest, FilesOfExamples) {
  const std::string one = file(
      "a.jsonl", "{\"instruction\":\"q\",\"output\":\"a\"}\n\n{\"prompt\":\"p\",\"completion\":\"c\"}\n");
  EXPECT_EQ(read_examples({one}, "data.train").size(), 2u);
  const std::string bad = file("b.jsonl", "{\"instruction\":\"q\",\"output\":\"a\"}\n{\"text\":\"x\"}\n");
  EXPECT_NE(error_of([&] { read_examples({bad}, "data.train"); }).find("b.jsonl:2: "), std::string::npos);
  const std::string text = file("c.txt", "hello\n");
  EXPECT_NE(error_of([&] { read_examples({text}, "data.train"); }).find("JSON Lines"), std::string::npos);
}

}  // namespace
}  // namespace frugal
