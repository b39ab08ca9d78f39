#include "tune/soft_targets.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>

#include "core/error.h"
#include "tune/losses.h"

namespace frugal {
namespace {

constexpr double kLeast = 1e-9;  // probabilities below it are the bucket's

struct Word {
  std::optional<std::string> bytes;  // nothing: only a part of a character, which the text does not tell
  double probability = 0;
};
struct Place {
  Word chosen;
  std::vector<Word> top;
};

Word read_word(const Json& json, const std::string& where) {
  const bool sound = json.is_object() && json.contains("token") && json["token"].is_string() &&
                     json.contains("logprob") && json["logprob"].is_number();
  if (!sound) fail("{}: logprobs: expected objects with \"token\" and \"logprob\"", where);
  Word word{std::nullopt, std::exp(std::min(0.0, json["logprob"].get<double>()))};
  const Json bytes = json.value("bytes", Json());
  if (bytes.is_array()) {
    word.bytes.emplace();
    for (const Json& byte : bytes) {
      if (!byte.is_number_integer() || byte.get<int64_t>() < 0 || byte.get<int64_t>() > 255) {
        fail("{}: logprobs: \"bytes\" should be numbers from 0 to 255", where);
      }
      *word.bytes += static_cast<char>(byte.get<int>());
    }
  } else if (json["token"].get_ref<const std::string&>().find("\xEF\xBF\xBD") == std::string::npos) {
    word.bytes = json["token"].get<std::string>();
  }
  return word;
}

std::vector<Place> read_places(const std::string& logprobs_json, const std::string& where) {
  const Json list = parse_json(logprobs_json, where);
  if (!list.is_array()) fail("{}: \"logprobs\" should be a list, one entry a token", where);
  std::vector<Place> places;
  for (const Json& item : list) {
    Place place{read_word(item, where), {}};
    const Json top = item.value("top", Json::array());
    if (!top.is_array()) fail("{}: logprobs: \"top\" should be a list", where);
    for (const Json& other : top) place.top.push_back(read_word(other, where));
    places.push_back(std::move(place));
  }
  return places;
}

// Probabilities by the student's ids; what is left of 1 is the bucket's.
std::map<int32_t, double> distribution(const Tokenizer& tokenizer, const Place& place, int32_t chosen) {
  std::map<int32_t, double> out;
  for (const Word& word : place.top) {
    const auto id = word.bytes ? tokenizer.find(*word.bytes) : std::nullopt;
    if (id && word.probability >= kLeast) out[*id] += word.probability;
  }
  if (!out.contains(chosen) && place.chosen.probability >= kLeast) out[chosen] = place.chosen.probability;
  double sum = 0;
  for (const auto& [id, p] : out) sum += p;
  if (sum > 1) {  // rounded
    for (auto& [id, p] : out) p /= sum;
  }
  return out;
}

// The last tokens that are learnt one after the other, special ones at the end left out.
std::pair<size_t, size_t> last_turn(const Tokenizer& tokenizer, const TokenSequence& sequence) {
  size_t end = sequence.tokens.size();
  while (end > 0 && (!sequence.learnt[end - 1] || tokenizer.is_special(sequence.tokens[end - 1]))) --end;
  size_t begin = end;
  while (begin > 0 && sequence.learnt[begin - 1]) --begin;
  return {begin, end};
}

void store(const std::map<int32_t, double>& words, size_t row, TokenSequence& sequence) {
  const size_t columns = 1 + 2 * words.size();
  while (sequence.extra.size() < columns) sequence.extra.emplace_back(sequence.tokens.size(), 0.0f);
  double left = 1;
  size_t column = 1;
  for (const auto& [id, p] : words) {
    sequence.extra[column++][row] = static_cast<float>(id + 1);
    sequence.extra[column++][row] = static_cast<float>(p);
    left -= p;
  }
  sequence.extra[0][row] = static_cast<float>(std::max(0.0, left));
}

}  // namespace

void SoftTargetCounts::add(const SoftTargetCounts& other) {
  examples += other.examples;
  mapped += other.mapped;
  unmapped += other.unmapped;
}

SoftTargetCounts attach_logprobs(const Tokenizer& tokenizer, const std::string& logprobs_json,
                                 const std::string& where, TokenSequence& sequence) {
  const std::vector<Place> places = read_places(logprobs_json, where);
  std::string said;
  std::map<size_t, const Place*> at;  // by the byte of the reply where it begins
  for (const Place& place : places) {
    if (!place.chosen.bytes) break;  // what follows is at a place that nobody knows
    at[said.size()] = &place;
    said += *place.chosen.bytes;
  }
  const auto [begin, end] = last_turn(tokenizer, sequence);
  std::string text;
  for (size_t i = begin; i < end; ++i) text += tokenizer.token_bytes(sequence.tokens[i]);
  const size_t shift = said.empty() ? std::string::npos : text.find(said);
  SoftTargetCounts counts{1, 0, 0};
  size_t here = 0;
  for (size_t i = begin; i < end; ++i) {
    const std::string_view bytes = tokenizer.token_bytes(sequence.tokens[i]);
    const auto found = shift == std::string::npos || here < shift ? at.end() : at.find(here - shift);
    here += bytes.size();
    if (i == 0 || found == at.end() || *found->second->chosen.bytes != bytes) {
      ++counts.unmapped;
      continue;
    }
    store(distribution(tokenizer, *found->second, sequence.tokens[i]), i - 1, sequence);
    ++counts.mapped;
  }
  return counts;
}

LossSums soft_target_objective(Context& ctx, Model& model, const TrainBatch& rows, const LossSums& step,
                               double weight) {
  if (rows.extra.empty()) return sft_objective(ctx, model, rows, step, 0);
  const TrainRows wanted = without_padding(rows);
  LossSums sums;
  if (wanted.batch.rows() == 0) return sums;
  std::vector<int64_t> offsets = {0};
  std::vector<int32_t> ids;
  std::vector<float> weights, tails;
  for (size_t i = 0; i < wanted.targets.size(); ++i) {
    const int32_t target = wanted.targets[i];
    std::map<int32_t, double> words;
    for (size_t c = 1; target >= 0 && c + 1 < wanted.extra.size(); c += 2) {
      const auto id = static_cast<int32_t>(wanted.extra[c][i]) - 1;
      if (id >= 0) words[id] = weight * static_cast<double>(wanted.extra[c + 1][i]);
    }
    tails.push_back(words.empty() ? 0.0f : static_cast<float>(weight) * wanted.extra[0][i]);
    if (target >= 0) words[target] += words.empty() ? 1 : 1 - weight;
    for (const auto& [id, w] : words) {
      ids.push_back(id);
      weights.push_back(static_cast<float>(w));
    }
    offsets.push_back(std::ssize(ids));
  }
  const Hidden hidden = model.forward(ctx, wanted.batch, nullptr);
  const float scale = step.targets > 0 ? static_cast<float>(1.0 / static_cast<double>(step.targets)) : 0.0f;
  const auto result = ops::sparse_cross_entropy(ctx, hidden.normed, model.head(),
                                                {offsets, ids, weights, tails}, {}, 0, scale);
  sums.main = result.loss_sum;
  sums.targets = result.counted;
  if (ctx.tape != nullptr) ctx.tape->backward(ctx);
  return sums;
}

}  // namespace frugal
