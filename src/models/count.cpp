// Counting parameters, cache bytes and FLOPs from the module visit: no architecture knows about it.
#include <cmath>

#include "models/model.h"

namespace frugal {

ParameterCounts count_parameters(Model& model) {
  ParameterCounts counts;
  bool own_head = false;
  EachParameter each([&](const std::string&, Tensor& value, const ParameterInfo& info) {
    const int64_t n = value.size();
    own_head = own_head || info.role == Role::head;
    if (info.mtp) {
      counts.mtp += n;
      return;
    }
    counts.total += n;
    if (info.role == Role::embedding) counts.embedding += n;
    if (info.role == Role::matrix || info.role == Role::expert || info.role == Role::head ||
        info.role == Role::router) {
      counts.active_exact += static_cast<double>(n) * info.activity;
    }
  });
  model.visit(each);
  // A tied head is the embedding's table, but a matrix product all the same.
  if (!own_head) counts.active_exact += static_cast<double>(counts.embedding);
  counts.active = std::llround(counts.active_exact);
  return counts;
}

int64_t kv_bytes_per_token(const Model& model, const Format& format) {
  int64_t values = 0;
  for (const CacheLayer& layer : model.cache_layers()) values += layer.k_width + layer.v_width;
  return format.bytes(values);
}

FlopsPerToken flops_per_token(Model& model, int64_t context) {
  const double keys = static_cast<double>(context) / 2;  // causal: half the square
  const double forward = 2 * count_parameters(model).active_exact + model.attention_flops(keys);
  return {forward, 3 * forward};
}

}  // namespace frugal
