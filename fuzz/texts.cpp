// Targets that read text: configurations, tokenizers, templates, recipes, patterns.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/files.h"
#include "core/json.h"
#include "core/utf8.h"
#include "kernels/dispatch.h"
#include "models/model.h"
#include "pipeline/recipe.h"
#include "targets.h"
#include "text/chat_template.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/parser.h"
#include "text/regex.h"
#include "text/tokenizer.h"

namespace frugal::fuzz {
namespace {

// Counts what the model would be, and runs it without computing.
void declare(const Json& json) {
  const auto model = create_model(json);
  count_parameters(*model);
  kv_bytes_per_token(*model, formats::bf16);
  flops_per_token(*model, std::min<int64_t>(model->shape().max_positions, 4096));
  int64_t tensors = 0;
  EachParameter each([&](const std::string&, Tensor&, const ParameterInfo&) { ++tensors; });
  model->visit(each);
  if (tensors > 300) return;  // the rest takes each of them in hand
  create_model(model->config());
  static ThreadPool pool(1);
  Context ctx{.pool = pool, .kernels = kernels::best(), .memory = Allocator::create(true)};
  initialise(ctx, *model, 1);
  const Hidden hidden = model->forward(ctx, Batch::single({0}), nullptr);
  logits(ctx, *model, hidden.normed);
}

// Its ids come back as the bytes they stand for, at once and one by one.
void round_trip(const Tokenizer& tokenizer, std::string_view text, bool exact) {
  for (const bool special : {false, true}) {
    const auto ids = tokenizer.encode(text, {.add_special = special, .parse_special = special});
    const std::string back = tokenizer.decode(ids);
    if (exact && !special) CHECK(back == text, "{:?} came back as {:?}", text, back);
    StreamDecoder stream(tokenizer);
    std::string streamed;
    for (const int32_t id : ids) streamed += stream.push(id);
    streamed += stream.finish();
    // A stream goes on from a text: its first space is not the one that SentencePiece puts before a text.
    CHECK(streamed == back || streamed == " " + back, "{:?} streamed as {:?}", back, streamed);
  }
}

jinja::Value conversation() {
  static const Json messages = parse_json(
      R"([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi <|end|>"},
          {"role": "assistant", "content": "<think>hm</think>Hello", "tool_calls": [{"type": "function", "function":
            {"name": "f", "arguments": {"x": [1, 2.5, null, true, "é"]}}}]},
          {"role": "tool", "content": "3"}, {"role": "user", "content": [{"type": "text", "text": "and?"}]}])",
      "messages");
  return jinja::from_json(messages, true);
}

}  // namespace

void config(std::string_view input) {
  tolerate([&] {
    Json json = parse_json(input, "config.json");
    if (!json.is_object()) return tolerate([&] { declare(json); });
    for (const char* layers : {"num_hidden_layers", "n_layer"}) {
      if (!json.contains(layers)) json[layers] = 2;  // quicker than what each family takes for granted
    }
    tolerate([&] { declare(json); });
    for (const Architecture* architecture : all_architectures()) {
      json["model_type"] = architecture->model_type;
      tolerate([&] { declare(json); });
    }
  });
}

void tokenizer(std::string_view input) {
  const auto [json, text] = split(input, "Kalo mi <|bos|>  123\xFF\xE4\xB8\xAD\n");
  tolerate([&] {
    const Tokenizer tokenizer = Tokenizer::from_json(
        std::string(json),
        R"({"bos_token": "<|bos|>", "eos_token": "a", "chat_template": "{{ bos_token }}"})", "t.json");
    tokenizer.ggml_pre();
    tolerate([&] { round_trip(tokenizer, text, false); });
    tolerate([&] { tokenizer.to_ggml(tokenizer.vocab_size() + 1); });
  });
}

void encode(std::string_view input) {
  struct Case {
    Tokenizer tokenizer;
    bool exact;  // nothing normalises
  };
  static const std::vector<Case> cases = [] {
    std::vector<Case> out;
    const fs::path folder = fs::path(FRUGAL_SOURCE_DIR) / "tests/golden/tokenizer";
    const Json golden = read_json_file(folder / "cases.json");
    for (const Json& configuration : golden.at("configurations")) {
      Json file = read_json_file(folder / configuration.value("base", "trained.json"));
      bool exact = !configuration.contains("base");
      for (const auto& [key, value] : configuration.at("parts").items()) {
        if (key == "model") {
          file["model"].update(value);
        } else {
          file[key] = value;
        }
        exact = exact && key != "normalizer" && to_text(value).find("Removed") == std::string::npos &&
                to_text(value).find("Whitespace") == std::string::npos &&
                to_text(value).find("\"add_prefix_space\":true") == std::string::npos &&
                key != "added_tokens";
      }
      out.push_back({Tokenizer::from_json(to_text(file), "", "golden"), exact});
    }
    return out;
  }();
  for (const Case& c : cases) tolerate([&] { round_trip(c.tokenizer, input, c.exact); });
}

void chat_template(std::string_view input) {
  static const Json tools = parse_json(R"([{"type": "function", "function": {"name": "f", "description": "d",
    "parameters": {"type": "object", "properties": {"x": {"type": "array"}}, "required": ["x"]}}}])",
                                       "tools");
  tolerate([&] {
    const jinja::Body body = jinja::parse(input);
    // A thousandth of what a real template may spend, so that a fuzzer tries many.
    jinja::Interpreter interpreter({.steps = 20'000, .bytes = 1 << 20},
                                   [] { return std::tm{.tm_mday = 1, .tm_year = 125}; });
    interpreter.set_global("messages", conversation());
    interpreter.set_global("tools", jinja::from_json(tools, true));
    interpreter.set_global("bos_token", jinja::Value("<s>"));
    interpreter.set_global("eos_token", jinja::Value("</s>"));
    interpreter.set_global("add_generation_prompt", jinja::Value(true));
    const jinja::Text text = interpreter.run(body);
    size_t at = 0;
    for (const TextSpan& span : text.input) {
      CHECK(at <= span.begin && span.begin < span.end && span.end <= text.bytes.size(),
            "spans overlap or are empty");
      at = span.end;
    }
  });
}

void recipe(std::string_view input) {
  tolerate([&] { resolved(parse_recipe(input, "recipe.toml", {})); });
}

void regex(std::string_view input) {
  const auto [pattern, text] = split(input, "Kalo mi  123's \xE4\xB8\xAD\xE6\x96\x87\n\n x");
  const std::string_view valid = text.substr(0, valid_utf8_prefix(text));
  tolerate([&] {
    const Regex compiled(pattern);
    Regex::Matcher matcher(compiled);
    matcher.begin(valid);
    for (size_t at = 0; at <= valid.size();) {
      const auto found = matcher.find(at);
      if (!found) break;
      CHECK(found->begin >= at && found->end >= found->begin);
      at = std::max(found->end, at + 1);
      while (at < valid.size() && (static_cast<unsigned char>(valid[at]) & 0xC0) == 0x80) ++at;
    }
  });
}

}  // namespace frugal::fuzz
