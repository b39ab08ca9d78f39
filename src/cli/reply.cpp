#include "cli/reply.h"

#include <nlohmann/json.hpp>

#include "core/error.h"
#include "text/stop_strings.h"

namespace frugal::cli {

double Reply::tokens_per_second() const {
  const double seconds = generation.decode_seconds;
  return seconds > 0 ? static_cast<double>(generation.ids.size()) / seconds : 0;
}

Reply stream_reply(Engine& engine, const Tokenizer& tokenizer, const ReplyRequest& request,
                   const std::function<void(std::string_view)>& show) {
  Reply reply;
  StreamDecoder decoder(tokenizer, {.skip_special = true});
  StopStrings stops(request.stop_strings);
  const auto emit = [&](const std::string& piece) {
    reply.text += piece;
    if (!piece.empty()) show(piece);
  };
  const GenerationRequest generation{.prompt = request.prompt,
                                     .max_tokens = request.max_tokens,
                                     .sampling = request.sampling,
                                     .stop_ids = request.stop_ids};
  reply.generation = engine.generate(generation, [&](int32_t id) {
    // Models have more ids than tokenizers: padding of the embedding, which stands for nothing.
    if (id < tokenizer.vocab_size()) emit(stops.push(decoder.push(id)));
    return !stops.stopped() && !(request.cancel != nullptr && *request.cancel);
  });
  emit(stops.push(decoder.finish()));
  emit(stops.finish());
  reply.reason = stops.stopped() ? "stop" : to_string(reply.generation.reason);
  return reply;
}

Json draft_json(const DraftStats& stats) {
  return {{"passes", stats.passes},
          {"drafts", stats.drafts},
          {"drafted", stats.drafted},
          {"accepted", stats.accepted},
          {"acceptance", stats.acceptance()},
          {"speedup", stats.speedup},
          {"predicted_speedup", stats.predicted_speedup}};
}

std::string draft_line(const DraftStats& stats) {
  return fmt::format(
      "drafts: {} of {} tokens accepted ({:.0f}%), {:.2f} times the speed of plain passes ({:.2f} foreseen)",
      stats.accepted, stats.drafted, 100 * stats.acceptance(), stats.speedup, stats.predicted_speedup);
}

std::vector<int32_t> encode_prompt(const Tokenizer& tokenizer, std::string_view text) {
  std::vector<int32_t> ids = tokenizer.encode(text, {.add_special = true, .parse_special = true});
  const auto eos = tokenizer.eos_id();
  const bool ends_in_text = eos && text.ends_with(tokenizer.token_bytes(*eos));
  if (eos && eos != tokenizer.bos_id() && !ids.empty() && ids.back() == *eos && !ends_in_text) ids.pop_back();
  if (!ids.empty()) return ids;
  if (tokenizer.bos_id()) return {*tokenizer.bos_id()};
  if (eos) return {*eos};
  fail("the prompt is empty and the tokenizer has no token to begin a text with");
}

}  // namespace frugal::cli
