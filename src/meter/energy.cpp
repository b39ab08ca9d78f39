#include "meter/energy.h"

#include <algorithm>
#include <cctype>
#include <cmath>

#include "core/error.h"

namespace frugal {
namespace {

constexpr double kLowLoad = 0.3, kHighLoad = 1.3;      // of TDP per busy thread
constexpr double kLowMemory = 0.1, kHighMemory = 0.4;  // W/GB
constexpr double kLowPue = 1.1, kHighPue = 1.6;

// The value after "model name :" of /proc/cpuinfo, with runs of blanks made one.
std::string model_name(std::string_view cpuinfo) {
  const size_t at = cpuinfo.find("model name");
  if (at == std::string_view::npos) return {};
  std::string_view line = cpuinfo.substr(at, cpuinfo.find('\n', at) - at);
  const size_t colon = line.find(':');
  if (colon == std::string_view::npos) return {};
  std::string name;
  for (const char c : line.substr(colon + 1)) {
    if (c == ' ' && (name.empty() || name.back() == ' ')) continue;
    name += c;
  }
  while (!name.empty() && name.back() == ' ') name.pop_back();
  return name;
}

int64_t processors(std::string_view cpuinfo) {
  int64_t count = 0;
  for (size_t at = 0; at < cpuinfo.size();) {
    const size_t end = std::min(cpuinfo.find('\n', at), cpuinfo.size());
    if (cpuinfo.substr(at, end - at).starts_with("processor")) ++count;
    at = end + 1;
  }
  return std::max<int64_t>(count, 1);
}

// Some firmware shouts: "INTEL(R) XEON(R) PLATINUM".
std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return out;
}

bool has_word(const std::string& whole, std::string_view pattern) {
  const std::string text = lower(whole), word = lower(pattern);
  const auto part_of_word = [&](size_t i) {
    return i < text.size() && (std::isalnum(static_cast<unsigned char>(text[i])) != 0 || text[i] == '+');
  };
  for (size_t at = text.find(word); at != std::string::npos; at = text.find(word, at + 1)) {
    if ((at == 0 || !part_of_word(at - 1)) && !part_of_word(at + word.size())) return true;
  }
  return false;
}

// "Intel(R) Xeon(R) Gold 6248 CPU" -> "Intel Xeon Gold 6248", so that patterns read as people write them.
std::string plain_name(std::string name) {
  for (const std::string_view noise : {"(R)", "(TM)", "(r)", "(tm)", " CPU"}) {
    for (size_t at = name.find(noise); at != std::string::npos; at = name.find(noise))
      name.erase(at, noise.size());
  }
  return name;
}

}  // namespace

CpuPower cpu_power(std::string_view cpuinfo, std::optional<double> tdp_watts,
                   std::optional<int64_t> threads) {
  CpuPower power;
  power.name = plain_name(model_name(cpuinfo));
  if (power.name.empty()) power.name = "an unnamed processor";
  const CpuSpec* spec = nullptr;
  for (const CpuSpec& row : cpu_specs()) {
    if (has_word(power.name, row.pattern)) spec = &row;
  }
  if (spec != nullptr || tdp_watts) {
    const double tdp = tdp_watts.value_or(spec != nullptr ? spec->tdp_watts : 0);
    const double turbo = !tdp_watts ? spec->turbo_watts : 0;
    const auto count =
        static_cast<double>(threads.value_or(spec != nullptr ? spec->threads : processors(cpuinfo)));
    power.low_watts = kLowLoad * tdp / count;
    power.high_watts = std::max(kHighLoad * tdp, turbo) / count;
    power.source = fmt::format("{} W over {} threads", tdp, count);
    return power;
  }
  for (const CpuFamily& row : cpu_families()) {
    if (!row.pattern.empty() && !has_word(power.name, row.pattern)) continue;
    power.low_watts = kLowLoad * row.low_watts_per_thread;
    power.high_watts = kHighLoad * row.high_watts_per_thread;
    power.source =
        fmt::format("{} to {} W a thread, model not in the table; set tdp_watts and threads to narrow it",
                    row.low_watts_per_thread, row.high_watts_per_thread);
    break;
  }
  return power;
}

Joules memory_energy(double gb_seconds) {
  return {kLowMemory * gb_seconds, kHighMemory * gb_seconds, false};
}

Joules modelled_energy(const CpuPower& cpu, double cpu_seconds, double gb_seconds,
                       std::optional<double> pue) {
  const Joules memory = memory_energy(gb_seconds);
  return {(cpu.low_watts * cpu_seconds + memory.low) * pue.value_or(kLowPue),
          (cpu.high_watts * cpu_seconds + memory.high) * pue.value_or(kHighPue), false};
}

}  // namespace frugal
