#include "meter/rapl.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <set>

#include "core/error.h"
#include "core/files.h"

namespace frugal {
namespace {

// One line of a sysfs file without its newline; Error when unreadable.
std::string read_line(const fs::path& path) {
  std::string text = read_file(path);
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.back())) != 0) text.pop_back();
  return text;
}

uint64_t read_number(const fs::path& path) {
  const std::string text = read_line(path);
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size() || text.empty()) {
    fail("{}: expected a number, found '{}'", path.string(), text);
  }
  return value;
}

// "intel-rapl:0" of prefix "intel-rapl:" and with no further colon: a top-level zone.
bool is_top_zone(const std::string& file, std::string_view prefix) {
  return file.starts_with(prefix) && file.size() > prefix.size() &&
         file.find(':', prefix.size()) == std::string::npos;
}

}  // namespace

Rapl::Rapl(const fs::path& powercap, double now) : last_time_(now) {
  std::error_code error;
  std::set<std::string> files;
  for (fs::directory_iterator it(powercap, error), end; !error && it != end; it.increment(error)) {
    files.insert(it->path().filename().string());
  }
  std::set<std::string> packages;
  for (const std::string_view prefix : {"intel-rapl:", "intel-rapl-mmio:"}) {
    for (const auto& file : files) {
      if (!is_top_zone(file, prefix)) continue;
      try {
        const std::string name = read_line(powercap / file / "name");
        if (name.starts_with("package") && packages.insert(name).second) add_package(powercap / file, name);
      } catch (const Error& failure) {
        reason_ = failure.what();
        if (reason_.find("Permission denied") != std::string::npos) {
          reason_ += "; root can allow it: chmod -R a+r " + powercap.string();
        }
      }
    }
  }
  if (zones_.empty() && reason_.empty()) reason_ = fmt::format("{} shows no RAPL package", powercap.string());
}

void Rapl::add_package(const fs::path& directory, const std::string& name) {
  if (!add_zone(directory, name)) return;
  bool dram = false;
  const std::string zone = directory.filename().string() + ":";
  // Sub-zones lie inside their package's directory; the class directory lists them beside it too.
  std::set<fs::path> parts;
  for (const fs::path& parent : {directory, directory.parent_path()}) {
    std::error_code error;
    for (fs::directory_iterator it(parent, error), end; !error && it != end; it.increment(error)) {
      const std::string file = it->path().filename().string();
      if (!is_top_zone(file, zone) || !parts.insert(it->path().filename()).second) continue;
      if (read_line(it->path() / "name") == "dram") dram = add_zone(it->path(), "dram") || dram;
    }
  }
  has_dram_ = has_dram_ && dram;
}

bool Rapl::add_zone(const fs::path& directory, const std::string& name) {
  Zone zone{directory / "energy_uj", name};
  zone.range = read_number(directory / "max_energy_range_uj");
  zone.last = read_number(zone.counter);
  zones_.push_back(std::move(zone));
  return true;
}

void Rapl::sample(double now) {
  if (!available()) return;
  constexpr double kMaxWatts = 5000;  // no package draws this: such a step back is a reset, not a wrap
  const double limit = kMaxWatts * 1e6 * std::max(now - last_time_, 1.0);
  for (Zone& zone : zones_) {
    try {
      const uint64_t value = read_number(zone.counter);
      if (value >= zone.last) {
        zone.microjoules += static_cast<double>(value - zone.last);
      } else {
        const double wrapped = static_cast<double>(value) +
                               static_cast<double>(zone.range > zone.last ? zone.range - zone.last : 0);
        zone.microjoules += wrapped <= limit ? wrapped : static_cast<double>(value);
      }
      zone.last = value;
    } catch (const Error& failure) {
      reason_ = failure.what();
      return;
    }
  }
  last_time_ = now;
}

double Rapl::joules() const {
  double sum = 0;
  for (const Zone& zone : zones_) sum += zone.microjoules;
  return sum / 1e6;
}

std::string Rapl::zones() const {
  std::string text;
  for (const Zone& zone : zones_) text += (text.empty() ? "" : ", ") + zone.name;
  return text;
}

}  // namespace frugal
