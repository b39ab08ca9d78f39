// What a model is made of, which of its sizes may be cut, and the config.json of what is left. Private to
// prune/.
#pragma once

#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "models/model.h"
#include "prune/plan.h"

namespace frugal {

// As its config and its parameters say.
struct Units {
  std::string type;
  Json config;
  int64_t layers = 0, mtp = 0;
  int64_t heads = 0, kv_heads = 0, head_width = 0;  // of grouped-query attention; kv_heads 0: latent
  int64_t experts = 0, groups = 1;                  // experts are chosen by groups of the same size
  std::set<int64_t> dense_layers;                   // MTP modules too
  std::vector<std::pair<std::string, Shape>> shapes;

  int64_t number(const char* key) const;  // of the config; 0 without one
  // `layers` with the MTP modules behind them.
  std::vector<int64_t> with_mtp(std::vector<int64_t> layers) const;
};
Units units_of(Model& model);

// Query heads, and key and value heads (0 where they are latents), of the pruned model.
struct Heads {
  int64_t queries, keys;
};
Heads heads_wanted(const Units& units, const PruneRequest& request);  // UsageError when they do not fit

// UsageError as check() of plan.h.
void check(const Units& units, const PruneRequest& request);
// The config of the model that keeps `layers` (without MTP modules).
Json pruned_config(const Units& units, const PruneRequest& request, const std::vector<int64_t>& layers);

}  // namespace frugal
