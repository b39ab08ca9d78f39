#include "meter/meter.h"

#include <algorithm>
#include <chrono>

#include "core/error.h"
#include "core/thread_pool.h"
#include "meter/process.h"

namespace frugal {
namespace {

const Prices& checked(const Prices& prices) {
  prices.check("meter");
  return prices;
}

// Arm and others name no model; an absent file is the same as an unknown processor.
std::string cpuinfo_text(const fs::path& path) {
  std::error_code error;
  return fs::exists(path, error) ? read_file(path) : std::string();
}

}  // namespace

Meter::Meter(const Prices& prices, const MeterOptions& options)
    : prices_(checked(prices)),
      options_(options),
      cpu_(cpu_power(cpuinfo_text(options.cpuinfo), prices.tdp_watts, prices.threads)),
      vcpus_(prices.vcpus.value_or(default_thread_count())),
      begin_seconds_(steady_seconds()),
      begin_cpu_(process_cpu_seconds(options.with_children)),
      rapl_(options.powercap, begin_seconds_),
      last_sample_(begin_seconds_),
      last_resident_(process_memory(options.process).resident_bytes) {
  auto total = std::make_shared<Span>();
  total->begin = sample();
  spans_.push_back(std::move(total));
  if (options.sample_seconds > 0) sampler_ = std::thread([this] { watch(options_.sample_seconds); });
}

Meter::~Meter() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  wake_.notify_all();
  if (sampler_.joinable()) sampler_.join();
}

void Meter::watch(double period) {
  std::unique_lock lock(mutex_);
  while (!wake_.wait_for(lock, std::chrono::duration<double>(period), [this] { return stop_; })) {
    try {
      sample();
    } catch (const Error&) {
      return;  // /proc is gone; the next reading tells the caller
    }
  }
}

void Meter::add_flops(double flops) {
  CHECK(flops >= 0, "{} FLOPs", flops);
  const std::lock_guard lock(mutex_);
  flops_ += flops;
}

void Meter::add_bytes(double bytes) {
  CHECK(bytes >= 0, "{} bytes", bytes);
  const std::lock_guard lock(mutex_);
  bytes_ += bytes;
}

void Meter::add_tokens(int64_t tokens) {
  CHECK(tokens >= 0, "{} tokens", tokens);
  const std::lock_guard lock(mutex_);
  tokens_ += tokens;
}

Meter::Reading Meter::sample() {
  const double now = steady_seconds();
  const ProcessMemory memory = process_memory(options_.process);
  rapl_.sample(now);
  gb_seconds_ += 0.5e-9 * static_cast<double>(memory.resident_bytes + last_resident_) * (now - last_sample_);
  last_sample_ = now;
  last_resident_ = memory.resident_bytes;
  for (const auto& span : spans_) {
    if (span->running) span->peak_sampled = std::max(span->peak_sampled, memory.resident_bytes);
  }
  return {.seconds = now - begin_seconds_,
          .cpu_seconds = process_cpu_seconds(options_.with_children) - begin_cpu_,
          .flops = flops_,
          .bytes = bytes_,
          .gb_seconds = gb_seconds_,
          .rapl_joules = rapl_.joules(),
          .tokens = tokens_,
          .peak_memory_bytes = memory.peak_resident_bytes};
}

Joules Meter::energy(double cpu_seconds, double gb_seconds, double rapl_joules, std::string& source) const {
  // Some hypervisors show counters that stand still; busy time without energy is no measurement.
  const bool frozen = rapl_joules == 0 && cpu_seconds > 0.5;
  if (!rapl_.available() || frozen) {
    source = fmt::format("{}, {}", cpu_.name, cpu_.source);
    return modelled_energy(cpu_, cpu_seconds, gb_seconds, prices_.pue);
  }
  const Joules memory = rapl_.has_dram() ? Joules{} : memory_energy(gb_seconds);
  const double pue = prices_.pue.value_or(1);
  source = rapl_.zones() + (rapl_.has_dram() ? "" : "; memory modelled");
  return {(rapl_joules + memory.low) * pue, (rapl_joules + memory.high) * pue, true};
}

Bill Meter::bill(const Span& span, const Reading& end) const {
  const Reading& begin = span.begin;
  Bill bill;
  bill.seconds = end.seconds - begin.seconds;
  bill.cpu_seconds = end.cpu_seconds - begin.cpu_seconds;
  bill.flops = end.flops - begin.flops;
  bill.bytes = end.bytes - begin.bytes;
  bill.tokens = end.tokens - begin.tokens;
  // The process-wide peak belongs to this span if it rose meanwhile; else the samples know best.
  bill.peak_memory_bytes =
      end.peak_memory_bytes > begin.peak_memory_bytes ? end.peak_memory_bytes : span.peak_sampled;
  bill.joules = energy(bill.cpu_seconds, end.gb_seconds - begin.gb_seconds,
                       end.rapl_joules - begin.rapl_joules, bill.energy_source);
  const double hours = bill.seconds / 3600, kwh = bill.joules.middle() / 3.6e6;
  const double gb = static_cast<double>(bill.peak_memory_bytes) / 1e9;
  bill.dollars = hours * (prices_.price_per_hour.value_or(0) +
                          prices_.price_per_vcpu_hour.value_or(0) * static_cast<double>(vcpus_) +
                          prices_.price_per_gb_hour.value_or(0) * gb) +
                 kwh * prices_.price_per_kwh;
  bill.co2_g = kwh * prices_.grid_intensity();
  return bill;
}

Meter::Stage Meter::start(std::string name) {
  const std::lock_guard lock(mutex_);
  auto span = std::make_shared<Span>();
  span->name = std::move(name);
  span->begin = sample();
  span->peak_sampled = last_resident_;
  spans_.push_back(span);
  return Stage(this, std::move(span));
}

void Meter::end(const std::shared_ptr<Span>& span) {
  span->end = sample();
  span->running = false;
  if (span->name.empty()) std::erase(spans_, span);
}

Bill Meter::total() {
  const std::lock_guard lock(mutex_);
  const Reading now = sample();
  Bill total = bill(*spans_[0], now);
  total.peak_memory_bytes = now.peak_memory_bytes;
  return total;
}

std::vector<Meter::NamedBill> Meter::stages() {
  const std::lock_guard lock(mutex_);
  const Reading now = sample();
  std::vector<NamedBill> stages;
  for (size_t i = 1; i < spans_.size(); ++i) {
    const Span& span = *spans_[i];
    if (span.name.empty()) continue;
    stages.push_back({span.name, span.running, bill(span, span.running ? now : span.end)});
  }
  return stages;
}

std::string Meter::energy_description() const {
  const std::lock_guard lock(mutex_);
  if (rapl_.available()) return "measured: " + rapl_.zones() + (rapl_.has_dram() ? "" : "; memory modelled");
  return fmt::format("modelled: {}, {} ({})", cpu_.name, cpu_.source, rapl_.reason());
}

Meter::Stage::~Stage() {
  if (span_ == nullptr) return;
  try {
    stop();
  } catch (const Error&) {  // a destructor cannot tell; the stage ends with what was last known
  }
}

Bill Meter::Stage::bill() const {
  const std::lock_guard lock(meter_->mutex_);
  return meter_->bill(*span_, span_->running ? meter_->sample() : span_->end);
}

Bill Meter::Stage::stop() {
  const std::lock_guard lock(meter_->mutex_);
  if (span_->running) meter_->end(span_);
  return meter_->bill(*span_, span_->end);
}

}  // namespace frugal
