// Auxiliary-loss-free load balancing (Wang et al. 2024; DeepSeek-V3 report §2.1.2): after each optimizer step
// the routing bias of every expert moves by `speed` towards the mean load, b += speed * sign(mean - load),
// with loads counted over the whole step.
#pragma once

#include <vector>

#include "autograd/aux.h"
#include "models/model.h"

namespace frugal {

// Layers without counts (no token reached them) are left alone.
void update_routing_biases(Model& model, const Aux& aux, double speed);

// Load of the busiest expert over the mean load, for every layer with counts, in the order of the layers.
std::vector<double> load_imbalance(const Aux& aux);

}  // namespace frugal
