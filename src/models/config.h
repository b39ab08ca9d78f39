// Reading config.json, and the checks on it that all architectures share.
#pragma once

#include <string>

#include "core/error.h"
#include "core/fields.h"
#include "core/json.h"

namespace frugal {

// UsageError unless value is at least `least`.
inline void require_at_least(const char* model, const char* key, int64_t value, int64_t least) {
  if (value < least) fail_usage("config of {}: {} = {}; expected at least {}", model, key, value, least);
}
inline void require_at_most(const char* model, const char* key, int64_t value, const char* other,
                            int64_t most) {
  if (value > most) fail_usage("config of {}: {} = {} is more than {} = {}", model, key, value, other, most);
}
inline void require_divides(const char* model, const char* key, int64_t value, const char* other,
                            int64_t whole) {
  if (value < 1 || whole % value != 0) {
    fail_usage("config of {}: {} = {} does not divide {} = {}", model, key, value, other, whole);
  }
}
// Only what we compute may be asked for.
inline void require_equal(const char* model, const char* key, const std::string& value,
                          const std::string& wanted) {
  if (value != wanted)
    fail("config of {}: {} = '{}' is not supported; expected '{}'", model, key, value, wanted);
}

// UsageError when a dimension, by its usual name, is beyond anything that exists: parameters are declared and
// counted before memory is looked at, and neither may take forever or overflow.
void require_plausible(const Json& config, const std::string& model);

// config.json's model_type; empty without one.
std::string model_type_of(const Json& config);

// The fields of config.json, plausible with those that it leaves to their defaults. Include
// <nlohmann/json.hpp> to call it.
template <Visitable T>
void read_config(T& config, const Json& json) {
  read_fields(config, json, "config.json", UnknownKeys::ignore);
  require_plausible(write_fields(config), model_type_of(json));
}

// A token id key that may be absent, null, a number or a list (then its first counts): -1 without one.
int token_id(const Json& config, const char* key);
// The caller's config with architectures and model_type set, missing keys filled in from `known`.
Json completed_config(const Json& given, const Json& known, const char* hf_class, const char* model_type);

}  // namespace frugal
