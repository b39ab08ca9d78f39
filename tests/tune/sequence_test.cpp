// What is learnt of a conversation, under templates of every kind.
#include "tune/sequence.h"

#include "tune/tune_fixture.h"

namespace frugal {
namespace {

const Json kTwoTurns = {turn("system", "be small"), turn("user", "Once upon"), turn("assistant", "a time"),
                        turn("user", "boats"), turn("assistant", "on the sea")};

std::string learnt(const char* chat_template, const Json& messages, Turns turns = Turns::all,
                   size_t from = 0) {
  const Tokenizer tokenizer = chat_tokenizer(chat_template);
  const SequenceBuilder builder(tokenizer, turns);
  const TokenSequence sequence = builder.build(chat_example(messages, from));
  // Whatever is learnt, the tokens are those of the conversation as chat renders it.
  const ChatTemplate chat(chat_template, tokenizer.bos_token(), tokenizer.eos_token());
  EXPECT_EQ(tokenizer.decode(sequence.tokens), chat.render_json(messages).text);
  return learnt_text(tokenizer, sequence);
}

TEST(Sequence, ChatMlLearnsRepliesAndTheirEnds) {
  EXPECT_EQ(learnt(kChatMl, kTwoTurns), "a time<|im_end|>|on the sea<|im_end|>");
  EXPECT_EQ(learnt(kChatMl, kTwoTurns, Turns::last), "on the sea<|im_end|>");
  EXPECT_EQ(learnt(kChatMl, kTwoTurns, Turns::all, 3), "on the sea<|im_end|>");
}

TEST(Sequence, SpecialTokensInTheDataStayData) {
  const Json messages = {turn("user", "say <|im_end|>"), turn("assistant", "<|im_end|> it is")};
  EXPECT_EQ(learnt(kChatMl, messages), "<|im_end|> it is<|im_end|>");
  const Tokenizer tokenizer = chat_tokenizer(kChatMl);
  const auto ids = SequenceBuilder(tokenizer, Turns::all).build(chat_example(messages)).tokens;
  EXPECT_EQ(std::count(ids.begin(), ids.end(), *tokenizer.find("<|im_end|>")), 2);  // the template's own
}

// No mark before a reply: the end of the user's turn is the mark.
TEST(Sequence, InstTemplates) {
  const char* inst =
      "{% for m in messages %}{% if m['role'] == 'user' %}{{ '[INST] ' + m['content'] + ' [/INST]' }}"
      "{% elif m['role'] == 'assistant' %}{{ ' ' + m['content'] + '<|im_end|>' }}{% endif %}{% endfor %}";
  const Json messages = {turn("user", "boats"), turn("assistant", "a sea"), turn("user", "time"),
                         turn("assistant", "once")};
  EXPECT_EQ(learnt(inst, messages), " a sea<|im_end|>| once<|im_end|>");
}

TEST(Sequence, GenerationMarksDecideWhereTheyAre) {
  const char* marked =
      "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' }}{% if m['role'] == 'assistant' %}"
      "{% generation %}{{ m['content'] }}{% endgeneration %}{% else %}{{ m['content'] }}{% endif %}{{ "
      "'<|im_end|>' }}"
      "{% endfor %}";
  EXPECT_EQ(learnt(marked, kTwoTurns), "a time|on the sea");
  EXPECT_EQ(learnt(marked, kTwoTurns, Turns::last), "on the sea");
}

// As reasoning models do: earlier turns lose what the last one shows.
constexpr const char* kForgets =
    "{% for m in messages %}{% if m['role'] == 'assistant' %}{{ '<|im_start|>assistant\n' }}"
    "{% if loop.last %}{{ '<think>\n</think>\n' }}{% endif %}{{ m['content'] + '<|im_end|>\n' }}"
    "{% else %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

TEST(Sequence, TemplatesThatRewriteTheirPast) {
  EXPECT_EQ(learnt(kForgets, kTwoTurns, Turns::last), "<think>\n</think>\non the sea<|im_end|>");
  const std::string message = error_of([] { learnt(kForgets, kTwoTurns); });
  EXPECT_TRUE(message.starts_with("x.jsonl:7: ")) << message;
  EXPECT_NE(message.find("data.turns = \"last\""), std::string::npos) << message;
}

TEST(Sequence, TemplatesThatCannotBeSplit) {
  const char* deaf =
      "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% "
      "endfor %}";
  const std::string message = error_of([&] { learnt(deaf, kTwoTurns); });
  EXPECT_NE(message.find("no assistant marker"), std::string::npos) << message;
  EXPECT_NE(message.find("<|im_start|>assistant"), std::string::npos) << message;
  const char* reversed = "{% for m in messages|reverse %}{{ m['content'] }}{% endfor %}";
  EXPECT_NE(error_of([&] { learnt(reversed, kTwoTurns); }).find("cannot"), std::string::npos);
  const char* refuses = "{{ raise_exception('no system turns') }}";
  EXPECT_EQ(error_of([&] { learnt(refuses, kTwoTurns); }),
            "x.jsonl:7: chat template, line 1: the chat template refuses: no system turns");
  const char* mute =
      "{% for m in messages %}{% if m['role'] != 'assistant' %}{{ m['content'] }}{% endif %}{% endfor %}";
  EXPECT_NE(error_of([&] { learnt(mute, kTwoTurns); }).find("cannot be split"), std::string::npos);
}

TEST(Sequence, WithoutATemplateOnlyPlainTextIsLearnt) {
  const Tokenizer tokenizer = chat_tokenizer("");
  const SequenceBuilder builder(tokenizer, Turns::all);
  EXPECT_NE(error_of([&] { builder.build(chat_example(kTwoTurns)); }).find("no chat template"),
            std::string::npos);
  const TokenSequence plain = builder.build({"", 0, "Once upon", " a time", "x"});
  const std::string end = tokenizer.eos_id() ? std::string(tokenizer.token_bytes(*tokenizer.eos_id())) : "";
  EXPECT_EQ(learnt_text(tokenizer, plain), " a time" + end);
  EXPECT_FALSE(plain.learnt[0]);
}

// A reply whose beginning would fuse with the end of the prompt is tokenised as the model begins it.
TEST(Sequence, PromptsAreTokenisedAsWhenAnswering) {
  const char* plain =
      "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '\n' }}{% endfor %}"
      "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}";
  const Tokenizer tokenizer = chat_tokenizer(plain);
  const SequenceBuilder builder(tokenizer, Turns::all);
  for (const char* reply : {"time", " a time", "on the sea"}) {
    const Json messages = {turn("user", "boats"), turn("assistant", reply)};
    const TokenSequence sequence = builder.build(chat_example(messages));
    const auto prompt = builder.prompt(to_text(Json::array({turn("user", "boats")})), "x");
    ASSERT_LE(prompt.size(), sequence.tokens.size());
    EXPECT_TRUE(std::equal(prompt.begin(), prompt.end(), sequence.tokens.begin())) << reply;
    EXPECT_FALSE(sequence.learnt[prompt.size() - 1]) << reply;
    EXPECT_TRUE(sequence.learnt[prompt.size()]) << reply;
  }
}

TEST(Sequence, JoinedPromptsAndReplies) {
  const std::vector<int32_t> prompt = {1, 2}, reply = {3, 4, 5};
  const TokenSequence sequence = SequenceBuilder::join(prompt, reply);
  EXPECT_EQ(sequence.tokens, (std::vector<int32_t>{1, 2, 3, 4, 5}));
  EXPECT_EQ(sequence.learnt, (std::vector<bool>{false, false, true, true, true}));
  EXPECT_EQ(sequence.targets(), 3);
}

}  // namespace
}  // namespace frugal
