#include "models/gguf_family.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "nn/rope.h"

namespace frugal {
namespace {

// f32 in the file, but "1e-05" is meant, not 9.999999747378752e-06: the shortest decimal that rounds to it.
double shortest(double stored) {
  return std::strtod(fmt::format("{}", static_cast<float>(stored)).c_str(), nullptr);
}

const Json* find(const Json& object, std::string_view key) {
  const auto it = object.find(key);
  return it == object.end() || it->is_null() ? nullptr : &*it;
}

double number_of(const GgufFacts& facts, std::string_view key, double otherwise) {
  const Json* value = find(facts.metadata, key);
  if (value == nullptr) return otherwise;
  if (!value->is_number()) fail("{}: {} should be a number", facts.where, key);
  return shortest(value->get<double>());
}

struct Llama3Parameters {
  double factor, low, high, original;
};

// What Llama 3.1's scaling divides each frequency by (transformers' modeling_rope_utils).
std::vector<float> llama3_factors(const Llama3Parameters& p, int64_t width, double theta) {
  RopeScaling scaling;
  scaling.rope_type = "llama3";
  scaling.factor = p.factor;
  scaling.low_freq_factor = p.low;
  scaling.high_freq_factor = p.high;
  scaling.original_max_position_embeddings = static_cast<int64_t>(p.original);
  const RopeFrequencies plain = rope_frequencies(width, theta, std::nullopt, 1);
  const RopeFrequencies scaled = rope_frequencies(width, theta, scaling, 1);
  std::vector<float> out;
  for (size_t i = 0; i < plain.inverse.size(); ++i) {
    out.push_back(static_cast<float>(plain.inverse[i] / scaled.inverse[i]));
  }
  return out;
}

bool close(std::span<const float> a, std::span<const float> b) {
  return std::ranges::equal(a, b, [](float x, float y) { return std::abs(x - y) <= 1e-4f * std::abs(y); });
}

// The files keep factors only. Where they are Llama 3's, say so; else list them, as "longrope" does.
Json scaling_from_factors(const GgufFacts& facts, int64_t width, double theta, int64_t positions) {
  const std::vector<float>& factors = facts.rope_factors;
  if (static_cast<int64_t>(factors.size()) != width / 2) {
    fail("{}: rope_freqs.weight has {} factors; expected {}, half of a head's rotated width", facts.where,
         factors.size(), width / 2);
  }
  for (const float f : factors) {
    if (!(f > 0) || !std::isfinite(f)) fail("{}: rope_freqs.weight holds {}", facts.where, f);
  }
  Llama3Parameters p{shortest(*std::ranges::max_element(factors)), 1, 4, 8192};
  for (p.original = static_cast<double>(positions); p.original >= 1; p.original /= 2) {
    if (!close(factors, llama3_factors(p, width, theta))) continue;
    return {{"rope_type", "llama3"},
            {"factor", p.factor},
            {"low_freq_factor", p.low},
            {"high_freq_factor", p.high},
            {"original_max_position_embeddings", static_cast<int64_t>(p.original)}};
  }
  std::vector<double> list;
  for (const float f : factors) list.push_back(shortest(static_cast<double>(f)));
  return {{"rope_type", "longrope"}, {"factor", 1.0},
          {"attention_factor", 1.0}, {"original_max_position_embeddings", positions},
          {"short_factor", list},    {"long_factor", list}};
}

}  // namespace

void read_gguf_keys(const GgufFacts& facts, std::span<const GgufKey> keys, Json& config) {
  for (const GgufKey& key : keys) {
    const Json* value = find(facts.metadata, key.gguf);
    if (value == nullptr) {
      if (key.required) fail("{}: metadata lacks {}", facts.where, key.gguf);
      continue;
    }
    if (key.kind == GgufKey::Kind::flag) {
      if (!value->is_boolean()) fail("{}: {} should be a flag", facts.where, key.gguf);
      config[key.hf] = *value;
    } else if (key.kind == GgufKey::Kind::number) {
      config[key.hf] = number_of(facts, key.gguf, 0);
    } else {
      if (!value->is_number_integer()) {
        fail("{}: {} should be a whole number; values by layer are not supported", facts.where, key.gguf);
      }
      config[key.hf] = *value;
    }
  }
}

void write_gguf_keys(const Json& config, std::span<const GgufKey> keys, Json& metadata) {
  for (const GgufKey& key : keys) {
    const Json* value = find(config, key.hf);
    if (value == nullptr) {
      if (key.required) fail("config.json lacks {}, which GGUF needs as {}", key.hf, key.gguf);
      continue;
    }
    if (key.kind == GgufKey::Kind::number) {
      metadata[key.gguf] = value->get<double>();
    } else {
      metadata[key.gguf] = *value;
    }
  }
}

Json rope_scaling_of(const Json& config) {
  for (const char* key : {"rope_parameters", "rope_scaling"}) {
    if (const Json* scaling = find(config, key)) return *scaling;
  }
  return nullptr;
}

void read_gguf_rope(const GgufFacts& facts, int64_t width, Json& config) {
  const double theta = number_of(facts, "rope.freq_base", 10000);
  config["rope_theta"] = theta;
  const Json* rotated = find(facts.metadata, "rope.dimension_count");
  if (rotated != nullptr && *rotated != width) {
    fail("{}: rope.dimension_count = {}; only heads rotated whole ({}) are supported", facts.where,
         to_text(*rotated), width);
  }
  if (!facts.rope_factors.empty()) {
    const int64_t positions = config.at("max_position_embeddings").get<int64_t>();
    config["rope_scaling"] = scaling_from_factors(facts, width, theta, positions);
    return;
  }
  const Json* type = find(facts.metadata, "rope.scaling.type");
  if (type == nullptr) {
    const double linear = number_of(facts, "rope.scale_linear", 1);  // before rope.scaling.type was invented
    if (linear != 1) config["rope_scaling"] = {{"rope_type", "linear"}, {"factor", linear}};
    return;
  }
  if (*type == "none") return;
  const double factor = number_of(facts, "rope.scaling.factor", 1);
  if (*type == "linear") {
    if (factor != 1) config["rope_scaling"] = {{"rope_type", "linear"}, {"factor", factor}};
    return;
  }
  if (*type != "yarn") {
    fail("{}: rope.scaling.type = {}; supported: none, linear, yarn", facts.where, to_text(*type));
  }
  Json scaling = {{"rope_type", "yarn"}, {"factor", factor}};
  static constexpr GgufKey kKeys[] = {
      {"rope.scaling.original_context_length", "original_max_position_embeddings", GgufKey::Kind::integer,
       false},
      {"rope.scaling.yarn_attn_factor", "attention_factor", GgufKey::Kind::number, false},
      {"rope.scaling.yarn_beta_fast", "beta_fast", GgufKey::Kind::number, false},
      {"rope.scaling.yarn_beta_slow", "beta_slow", GgufKey::Kind::number, false},
  };
  read_gguf_keys(facts, kKeys, scaling);
  config["rope_scaling"] = scaling;
}

void write_gguf_rope(const Json& config, int64_t width, GgufDescription& out) {
  const Json json = rope_scaling_of(config);
  RopeScaling scaling;
  if (!json.is_null()) read_fields(scaling, json, "rope_scaling", UnknownKeys::ignore);
  const double theta = scaling.rope_theta.value_or(config.value("rope_theta", 10000.0));
  out.metadata["rope.dimension_count"] = width;
  out.metadata["rope.freq_base"] = theta;
  const std::string& kind = scaling.kind();
  const int64_t positions = config.value("max_position_embeddings", int64_t{0});
  if (kind.empty() || kind == "default") return;
  if (kind == "llama3") {
    out.rope_factors =
        llama3_factors({scaling.factor, scaling.low_freq_factor, scaling.high_freq_factor,
                        static_cast<double>(scaling.original_max_position_embeddings.value_or(positions))},
                       width, theta);
  } else if (kind == "longrope") {
    rope_frequencies(width, theta, scaling, positions);  // its checks
    for (const double f : scaling.long_factor) out.rope_factors.push_back(static_cast<float>(f));
  } else if (kind == "linear" || kind == "yarn") {
    out.metadata["rope.scaling.type"] = kind;
    out.metadata["rope.scaling.factor"] = scaling.factor;
    if (kind == "linear") return;
    if (!scaling.truncate) fail("rope_scaling: GGUF cannot say truncate = false");
    out.metadata["rope.scaling.original_context_length"] =
        scaling.original_max_position_embeddings.value_or(positions);
    if (scaling.attention_factor) out.metadata["rope.scaling.yarn_attn_factor"] = *scaling.attention_factor;
    out.metadata["rope.scaling.yarn_beta_fast"] = scaling.beta_fast;
    out.metadata["rope.scaling.yarn_beta_slow"] = scaling.beta_slow;
  } else {
    fail("rope_scaling: GGUF cannot say rope_type = {}", kind);
  }
}

NumberedName numbered(const std::string& name) {
  NumberedName out;
  for (size_t begin = 0; begin <= name.size();) {
    const size_t end = std::min(name.find('.', begin), name.size());
    const std::string part = name.substr(begin, end - begin);
    if (!out.pattern.empty()) out.pattern += '.';
    const bool number = !part.empty() && part.size() < 10 &&
                        std::ranges::all_of(part, [](char c) { return c >= '0' && c <= '9'; });
    if (number) out.numbers.push_back(std::stoll(part));
    out.pattern += number ? "{}" : part;
    begin = end + 1;
  }
  return out;
}

std::string with_layer(std::string_view pattern, int64_t layer) {
  const size_t at = pattern.find("{}");
  if (at == std::string_view::npos) return std::string(pattern);
  return std::string(pattern.substr(0, at)) + std::to_string(layer) + std::string(pattern.substr(at + 2));
}

GgufPlace place_in_gguf(std::span<const GgufName> names, const std::string& parameter) {
  const NumberedName key = numbered(parameter);
  const auto it = std::ranges::find(names, std::string_view(key.pattern), &GgufName::hf);
  CHECK(it != names.end(), "the table of names lacks {}", key.pattern);
  GgufPlace place;
  place.layout = it->layout;
  if (!key.numbers.empty()) place.layer = key.numbers[0];
  if (key.numbers.size() > 1) place.expert = key.numbers[1];
  place.name = with_layer(it->gguf, place.layer);
  return place;
}

}  // namespace frugal
