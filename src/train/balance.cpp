#include "train/balance.h"

#include <algorithm>
#include <numeric>

#include "core/error.h"

namespace frugal {

void update_routing_biases(Model& model, const Aux& aux, double speed) {
  if (speed == 0) return;
  for (const Model::RoutingBias& routing : model.routing_biases()) {
    const auto found = aux.counts().find(routing.layer);
    if (found == aux.counts().end()) continue;
    const std::vector<int64_t>& loads = found->second;
    const auto experts = static_cast<int64_t>(loads.size());
    CHECK(routing.bias->size() == experts);
    const int64_t total = std::accumulate(loads.begin(), loads.end(), int64_t{0});
    float* bias = routing.bias->f32();
    for (int64_t e = 0; e < experts; ++e) {
      const int64_t surplus = loads[static_cast<size_t>(e)] * experts - total;  // exact: no mean is rounded
      if (surplus != 0) bias[e] += static_cast<float>(surplus < 0 ? speed : -speed);
    }
  }
}

std::vector<double> load_imbalance(const Aux& aux) {
  std::vector<double> out;
  for (const auto& [layer, loads] : aux.counts()) {
    const double total = static_cast<double>(std::accumulate(loads.begin(), loads.end(), int64_t{0}));
    const double busiest = static_cast<double>(*std::max_element(loads.begin(), loads.end()));
    out.push_back(total > 0 ? busiest * static_cast<double>(loads.size()) / total : 0);
  }
  return out;
}

}  // namespace frugal
