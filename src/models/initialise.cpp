#include <algorithm>

#include "core/rng.h"
#include "models/model.h"

namespace frugal {

void initialise(Context& ctx, Model& model, uint64_t seed) {
  EachParameter each([&](const std::string& name, Tensor& value, const ParameterInfo& info) {
    value = Tensor::empty(ctx, value.shape());
    if (ctx.dry_run()) return;
    const auto out = value.values();
    if (info.role == Role::norm) return std::fill(out.begin(), out.end(), 1.0f);
    if (info.role == Role::bias || info.role == Role::buffer) return std::fill(out.begin(), out.end(), 0.0f);
    const double std = model.init_std();
    constexpr int64_t kChunk = 4096;  // numbers are counted from the chunk's start, whoever computes it
    ctx.pool.parallel_for(value.size(), kChunk, [&](int64_t begin, int64_t end, int) {
      Rng rng(seed, hash64(name), static_cast<uint64_t>(begin) * 4);  // four draws of 32 bits a normal
      for (int64_t i = begin; i < end; ++i)
        out[static_cast<size_t>(i)] = static_cast<float>(std * rng.normal());
    });
  });
  model.visit(each);
}

void make_trainable(Model& model) {
  EachParameter each([](const std::string&, Tensor& value, const ParameterInfo& info) {
    if (info.role != Role::buffer) value.require_gradient(true);
  });
  model.visit(each);
}

Tensor logits(Context& ctx, const Model& model, const Tensor& normed, std::span<const int64_t> rows) {
  return ops::linear(ctx, rows.empty() ? normed : ops::gather_rows(ctx, normed, rows), model.head(), {},
                     ops::Sensitivity::high);
}

}  // namespace frugal
