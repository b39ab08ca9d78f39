// What a pruned model keeps of its original: from the sizes that are asked for and from how much every part
// matters.
#pragma once

#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "models/model.h"
#include "prune/unit_importance.h"

namespace frugal {

// The sizes of the pruned model, each at most the original's; what is not given stays.
struct PruneRequest {
  std::optional<int64_t> layers, heads, kv_heads, experts, experts_per_token, hidden_size;
  std::optional<int64_t> intermediate_size, moe_intermediate_size, shared_expert_intermediate_size;
};

// Indices are of the original, ascending. What a map lacks is kept whole.
struct PrunePlan {
  Json config;                  // of the pruned model, complete
  std::vector<int64_t> layers;  // MTP modules at the end, as parameters count them
  std::map<int64_t, std::vector<int64_t>> heads, kv_heads;  // by layer of the original
  std::map<int64_t, std::vector<int64_t>> experts;
  std::map<std::string, std::vector<int64_t>> neurons;  // by feed-forward or expert of the original
  std::vector<int64_t> channels;                        // empty: all
  // By norm of the original: what its weights are multiplied by, so that rows come out of it as large as
  // before although the mean square is taken over fewer channels. What is kept of a row then has the length
  // it had; where the channels left out were zero, nothing changes.
  std::map<std::string, double> norm_factors;
  // Share of all importance that was kept: "heads", "experts", "neurons", "channels".
  std::map<std::string, double> kept;

  // Of the original: what the pruned model's `name` (a parameter or a module) comes from.
  std::string original(const std::string& name) const;
};

// UsageError, naming the flag and what would do, when the model cannot be cut like that.
void check(Model& model, const PruneRequest& request);
// The same check first. `depth` (a value a layer, the smallest are left out) takes the place of the blocks'
// influence when it is not empty.
PrunePlan plan_pruning(Model& model, const PruneRequest& request, const UnitImportance& importance,
                       const std::vector<double>& depth = {});
// Everything but one layer.
PrunePlan plan_without_layer(Model& model, int64_t layer);

}  // namespace frugal
