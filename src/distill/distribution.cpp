#include "distill/distribution.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <numeric>

#include "core/error.h"
#include "core/rng.h"

namespace frugal {
namespace {

double largest_of(std::span<const float> logits) {
  CHECK(!logits.empty());
  float largest = logits[0];
  for (const float z : logits) {
    if (std::isnan(z)) fail("the teacher computed a logit that is not a number: its weights are broken");
    largest = std::max(largest, z);
  }
  if (!std::isfinite(largest)) fail("the teacher computed no finite logit: its weights are broken");
  return static_cast<double>(largest);
}

// Bits below the quotient in the Rice code of distances between `count` sorted ids of `vocab`: about log2 of
// the mean.
int rice_bits(int64_t vocab, int64_t count) {
  return std::bit_width(static_cast<uint64_t>(std::max<int64_t>(1, vocab / (count + 1)))) - 1;
}

// Probabilities as 16 bits of -log2: 0 is 1, the largest 2^-16 and less.
constexpr double kLogSteps = 4095;
uint64_t log_code(float p) {
  const double bits = p > 0 ? -std::log2(static_cast<double>(p)) : 16;
  return static_cast<uint64_t>(std::lround(std::clamp(bits, 0.0, 16.0) * kLogSteps));
}
float from_log_code(uint64_t code) {
  return static_cast<float>(std::exp2(-static_cast<double>(code) / kLogSteps));
}

}  // namespace

std::string_view to_string(CacheKind kind) {
  return kind == CacheKind::sampled ? "sampled" : "top_k";
}

CacheKind parse_cache_kind(std::string_view name) {
  if (name == "sampled") return CacheKind::sampled;
  if (name == "top_k") return CacheKind::top_k;
  fail_usage("distill.kind = \"{}\": expected sampled or top_k", name);
}

SparseDistribution draw(std::span<const float> logits, int draws, uint64_t seed, uint64_t place) {
  CHECK(draws > 0);
  const double largest = largest_of(logits);
  std::vector<double> sums(logits.size());
  double sum = 0;
  for (size_t i = 0; i < logits.size(); ++i) {
    sum += std::exp(static_cast<double>(logits[i]) - largest);
    sums[i] = sum;
  }
  Rng rng(seed, place);
  std::vector<double> points(static_cast<size_t>(draws));
  for (double& point : points) point = rng.uniform() * sum;
  std::ranges::sort(points);
  SparseDistribution out;
  auto at = sums.begin();
  for (const double point : points) {
    at = std::upper_bound(at, sums.end() - 1, point);
    const auto id = static_cast<int32_t>(at - sums.begin());
    if (out.ids.empty() || out.ids.back() != id) {
      out.ids.push_back(id);
      out.weights.push_back(0);
    }
    out.weights.back() += 1;
  }
  for (float& weight : out.weights) weight /= static_cast<float>(draws);
  return out;
}

SparseDistribution most_likely(std::span<const float> logits, int k) {
  CHECK(k > 0);
  const double largest = largest_of(logits);
  double sum = 0;
  for (const float z : logits) sum += std::exp(static_cast<double>(z) - largest);
  std::vector<int32_t> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  const auto before = [&](int32_t a, int32_t b) {
    const float x = logits[static_cast<size_t>(a)], y = logits[static_cast<size_t>(b)];
    return x != y ? x > y : a < b;
  };
  const auto kept = std::min<ptrdiff_t>(k, static_cast<ptrdiff_t>(order.size()));
  std::nth_element(order.begin(), order.begin() + kept - 1, order.end(), before);
  SparseDistribution out;
  out.ids.assign(order.begin(), order.begin() + kept);
  std::ranges::sort(out.ids);
  for (const int32_t id : out.ids) {
    const double z = static_cast<double>(logits[static_cast<size_t>(id)]);
    out.weights.push_back(static_cast<float>(std::exp(z - largest) / sum));
  }
  return out;
}

void DistributionWriter::bit(uint32_t value) {
  if (used_ % 8 == 0) {
    bytes_.push_back(0);
    used_ = 0;
  }
  bytes_.back() = static_cast<char>(static_cast<unsigned char>(bytes_.back()) | (value << used_));
  ++used_;
}

void DistributionWriter::bits(uint64_t value, int count) {
  for (int i = count - 1; i >= 0; --i) bit(static_cast<uint32_t>(value >> i & 1));
}

// Elias' gamma code of a number from 1.
void DistributionWriter::gamma(uint64_t value) {
  const int width = std::bit_width(value);
  bits(0, width - 1);
  bits(value, width);
}

void DistributionWriter::add(const std::optional<SparseDistribution>& distribution) {
  if (!distribution) return gamma(1);
  const SparseDistribution& d = *distribution;
  CHECK(!d.ids.empty() && d.ids.size() == d.weights.size() && d.ids.back() < vocab_);
  gamma(d.ids.size() + 1);
  const int low = rice_bits(vocab_, static_cast<int64_t>(d.ids.size()));
  int64_t before = -1;
  for (const int32_t id : d.ids) {
    const auto distance = static_cast<uint64_t>(id - before - 1);
    for (uint64_t i = distance >> low; i > 0; --i) bit(1);
    bit(0);
    bits(distance & ((uint64_t{1} << low) - 1), low);
    before = id;
  }
  for (const float weight : d.weights) {
    if (kind_ == CacheKind::sampled) {
      gamma(static_cast<uint64_t>(std::lround(static_cast<double>(weight) * static_cast<double>(scale_))));
    } else {
      bits(log_code(weight), 16);
    }
  }
}

std::string DistributionWriter::take() {
  used_ = 0;
  return std::exchange(bytes_, {});
}

uint32_t DistributionReader::bit() {
  if (at_ / 8 >= bytes_.size()) fail("damaged: it ends in the middle of a distribution");
  const auto byte = static_cast<unsigned char>(bytes_[at_ / 8]);
  return byte >> (at_++ % 8) & 1;
}

uint64_t DistributionReader::bits(int count) {
  uint64_t value = 0;
  for (int i = 0; i < count; ++i) value = value << 1 | bit();
  return value;
}

uint64_t DistributionReader::gamma() {
  int zeros = 0;
  while (bit() == 0) {
    if (++zeros > 32) fail("damaged: an impossible number");
  }
  return uint64_t{1} << zeros | bits(zeros);
}

std::optional<SparseDistribution> DistributionReader::next() {
  const uint64_t count = gamma() - 1;
  if (count == 0) return std::nullopt;
  if (count > static_cast<uint64_t>(std::min(scale_, vocab_))) fail("damaged: {} ids of one token", count);
  const int low = rice_bits(vocab_, static_cast<int64_t>(count));
  SparseDistribution out;
  int64_t before = -1;
  for (uint64_t i = 0; i < count; ++i) {
    uint64_t high = 0;
    while (bit() == 1) ++high;
    const auto id = before + 1 + static_cast<int64_t>(high << low | bits(low));
    if (id >= vocab_) fail("damaged: token {} of {}", id, vocab_);
    out.ids.push_back(static_cast<int32_t>(id));
    before = id;
  }
  uint64_t drawn = 0;
  for (uint64_t i = 0; i < count; ++i) {
    if (kind_ == CacheKind::sampled) {
      const uint64_t times = gamma();
      drawn += times;
      out.weights.push_back(static_cast<float>(times) / static_cast<float>(scale_));
    } else {
      out.weights.push_back(from_log_code(bits(16)));
    }
  }
  if (kind_ == CacheKind::sampled && drawn != static_cast<uint64_t>(scale_)) {
    fail("damaged: {} draws of {}", drawn, scale_);
  }
  return out;
}

}  // namespace frugal
