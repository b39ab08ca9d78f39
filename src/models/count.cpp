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

double weight_bytes(Model& model, int64_t tokens) {
  double bytes = 0;
  bool own_head = false;
  EachParameter each([&](const std::string&, Tensor& value, const ParameterInfo& info) {
    own_head = own_head || info.role == Role::head;
    if (info.mtp || info.role == Role::embedding) return;  // a look-up reads a row a token
    const double met = info.activity >= 1 ? 1 : 1 - std::pow(1 - info.activity, static_cast<double>(tokens));
    bytes += static_cast<double>(value.bytes()) * met;
  });
  model.visit(each);
  return own_head ? bytes : bytes + static_cast<double>(model.head().bytes());
}

Work forward_work(Model& model, int64_t context, int64_t tokens, int64_t passes) {
  if (tokens == 0 || passes == 0) return {};
  return {flops_per_token(model, context).forward * static_cast<double>(tokens),
          weight_bytes(model, tokens / passes) * static_cast<double>(passes)};
}

Work generation_work(Model& model, const Format& kv, int64_t prompt, int64_t reply) {
  const auto read = static_cast<double>(prompt), written = static_cast<double>(reply);
  const double weights = 2 * count_parameters(model).active_exact;
  const double kv_bytes = static_cast<double>(kv_bytes_per_token(model, kv));
  Work work = forward_work(model, prompt, prompt, 1);
  work.bytes += read * kv_bytes;
  work.flops += written * (weights + model.attention_flops(read + written / 2));
  work.bytes += written * (weight_bytes(model, 1) + (read + written / 2 + 1) * kv_bytes);
  return work;
}

}  // namespace frugal
