#include "nn/adapter.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "core/error.h"
#include "core/rng.h"

namespace frugal {
namespace {

constexpr std::string_view kAllLinear = "all-linear";

bool is_linear(const ParameterInfo& info) {
  return (info.role == Role::matrix || info.role == Role::expert) && !info.mtp;
}

bool is_called(std::string_view module, std::string_view name) {
  return module == name || (module.ends_with(name) && module[module.size() - name.size() - 1] == '.');
}

std::string_view last_part(std::string_view module) {
  return module.substr(module.rfind('.') + 1);
}

// "down_proj, gate_proj, ...": what a target may be called.
std::string names_of(const VisitParameters& model) {
  std::set<std::string> names;
  EachParameter each([&](const std::string& name, Tensor&, const ParameterInfo& info) {
    const std::string module = name.substr(0, name.rfind('.'));
    if (is_linear(info)) names.insert(std::string(last_part(module)));
  });
  model(each);
  return fmt::format("{}", fmt::join(names, ", "));
}

Tensor initial_a(const Context& ctx, int64_t rank, int64_t in, uint64_t seed, const std::string& name) {
  Tensor a = Tensor::empty(ctx, {rank, in});
  if (ctx.dry_run()) return a;
  const double bound = 1 / std::sqrt(static_cast<double>(in));
  Rng rng(seed, hash64(name));
  for (float& value : a.values()) value = static_cast<float>(bound * (2 * rng.uniform() - 1));
  return a;
}

void attach(const Context& ctx, const AdapterPlace& place, const AdapterOptions& options, uint64_t seed,
            const std::shared_ptr<LowRankDropout>& dropout, bool trainable) {
  const bool transposed = place.info.transposed;
  const int64_t in = place.matrix->dim(transposed ? 0 : 1), out = place.matrix->dim(transposed ? 1 : 0);
  auto l = std::make_shared<LowRank>();
  l->a = initial_a(ctx, options.rank, in, seed, place.parameter);
  l->b = Tensor::zeros(ctx, {out, options.rank});
  l->scale = static_cast<float>(options.scale());
  l->transposed = transposed;
  l->stream = hash64(place.parameter, 1);
  if (place.info.role != Role::expert) l->dropout = dropout;
  if (options.parsed_kind() == AdapterKind::dora) {
    l->base_squares = output_squares(ctx, *place.matrix, transposed);
    l->magnitude = Tensor::zeros(ctx, {out});
    for (int64_t o = 0; o < out && !ctx.dry_run(); ++o)
      l->magnitude.f32()[o] = std::sqrt(l->base_squares.f32()[o]);
  }
  if (trainable) {
    l->a.require_gradient(true);
    l->b.require_gradient(true);
    if (l->magnitude) l->magnitude.require_gradient(true);
  }
  *place.matrix = place.matrix->with_low_rank(std::move(l));
}

}  // namespace

void AdapterOptions::visit(FieldVisitor& v) {
  v.field("kind", kind, "lora, rslora or dora; none: the whole model is trained, as f32");
  v.field("rank", rank, "inner width of the product beside a matrix");
  v.field("alpha", alpha, "the product counts alpha / rank times (rslora: alpha / sqrt(rank))");
  v.field("dropout", dropout, "share of the product's inputs left out while training");
  v.field(
      "target_modules", target_modules,
      "matrices by the end of their Hugging Face names (q_proj, ...); all-linear: every one but the head");
}

AdapterKind AdapterOptions::parsed_kind() const {
  if (kind == "lora") return AdapterKind::lora;
  if (kind == "rslora") return AdapterKind::rslora;
  if (kind == "dora") return AdapterKind::dora;
  if (kind == "none") return AdapterKind::none;
  fail_usage("adapter.kind = '{}': expected lora, rslora, dora or none", kind);
}

double AdapterOptions::scale() const {
  const auto r = static_cast<double>(rank);
  return alpha / (parsed_kind() == AdapterKind::rslora ? std::sqrt(r) : r);
}

void check(const AdapterOptions& options, std::string_view table) {
  constexpr int64_t kMostRank = 1 << 16;
  if (options.parsed_kind() == AdapterKind::none) return;
  if (options.rank < 1 || options.rank > kMostRank)
    fail_usage("{}.rank = {}: expected 1 to {}", table, options.rank, kMostRank);
  if (!(options.alpha > 0 && options.alpha <= 1e6))
    fail_usage("{}.alpha = {}: expected a number above 0, at most 1e6", table, options.alpha);
  if (!(options.dropout >= 0 && options.dropout < 1))
    fail_usage("{}.dropout = {}: expected a share from 0, below 1", table, options.dropout);
  if (options.target_modules.empty())
    fail_usage("{}.target_modules: name modules (q_proj, ...), or all-linear", table);
}

std::vector<AdapterPlace> adapters_of(const VisitParameters& model) {
  std::vector<AdapterPlace> places;
  EachParameter each([&](const std::string& name, Tensor& value, const ParameterInfo& info) {
    if (value.low_rank() != nullptr) places.push_back({name, &value, info});
  });
  model(each);
  return places;
}

std::vector<AdapterPlace> adapter_targets(const VisitParameters& model, const AdapterOptions& options) {
  std::vector<AdapterPlace> places;
  std::vector<bool> used(options.target_modules.size(), false);
  EachParameter each([&](const std::string& name, Tensor& value, const ParameterInfo& info) {
    if (!is_linear(info) || !name.ends_with(".weight")) return;
    const AdapterPlace place{name, &value, info};
    bool wanted = false;
    for (size_t i = 0; i < used.size(); ++i) {
      const std::string& target = options.target_modules[i];
      if (target != kAllLinear && !is_called(place.module(), target)) continue;
      wanted = used[i] = true;
    }
    if (wanted) places.push_back(place);
  });
  model(each);
  for (size_t i = 0; i < used.size(); ++i) {
    if (used[i]) continue;
    fail_usage("adapter.target_modules: no matrix of this model is called '{}'; there are {}, or all-linear",
               options.target_modules[i], names_of(model));
  }
  for (const AdapterPlace& place : places) {
    if (place.info.role != Role::expert) continue;
    const bool dora = options.parsed_kind() == AdapterKind::dora;
    if (!dora && options.dropout == 0) continue;
    fail_usage(
        "adapter.{}: the routed experts ({}) take lora and rslora without dropout only; leave them out of "
        "adapter.target_modules",
        dora ? "kind = dora" : "dropout", place.module());
  }
  return places;
}

std::shared_ptr<LowRankDropout> attach_adapters(const Context& ctx, const VisitParameters& model,
                                                const AdapterOptions& options, uint64_t seed,
                                                bool trainable) {
  const auto dropout = std::make_shared<LowRankDropout>(LowRankDropout{options.dropout, 0});
  for (const AdapterPlace& place : adapter_targets(model, options)) {
    if (place.matrix->low_rank() != nullptr) {
      fail("{} has an adapter already: merge it first (frugal convert MODEL OUT --adapter DIR)",
           place.module());
    }
    attach(ctx, place, options, seed, dropout, trainable);
  }
  return dropout;
}

void detach_adapters(const VisitParameters& model) {
  for (const AdapterPlace& place : adapters_of(model)) *place.matrix = place.matrix->without_low_rank();
}

WithoutAdapters::WithoutAdapters(const VisitParameters& model) {
  for (const AdapterPlace& place : adapters_of(model)) adapted_.emplace_back(place.matrix, *place.matrix);
  for (auto& [matrix, adapted] : adapted_) *matrix = adapted.without_low_rank();
}

WithoutAdapters::~WithoutAdapters() {
  for (auto& [matrix, adapted] : adapted_) *matrix = adapted;
}

void visit_tensors(const LowRank& low_rank,
                   const std::function<void(std::string_view, const Tensor&)>& body) {
  body("lora_A", low_rank.a);
  body("lora_B", low_rank.b);
  if (low_rank.magnitude) body("lora_magnitude_vector", low_rank.magnitude);
}

}  // namespace frugal
