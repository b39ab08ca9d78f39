#include "meter/prices.h"

#include <cmath>
#include <span>

#include "core/error.h"

namespace frugal {
namespace {

void check_number(std::string_view where, std::string_view key, std::optional<double> value, double low) {
  if (value && !(std::isfinite(*value) && *value >= low)) {
    fail_usage("{}: '{}' should be a number of at least {}, found {}", where, key, low, *value);
  }
}

}  // namespace

void Prices::check(std::string_view where) const {
  check_number(where, "price_per_hour", price_per_hour, 0);
  check_number(where, "price_per_vcpu_hour", price_per_vcpu_hour, 0);
  check_number(where, "price_per_gb_hour", price_per_gb_hour, 0);
  check_number(where, "price_per_kwh", price_per_kwh, 0);
  check_number(where, "grid_g_per_kwh", grid_g_per_kwh, 0);
  check_number(where, "pue", pue, 1);
  check_number(where, "tdp_watts", tdp_watts, 0.01);
  if (threads && *threads < 1) fail_usage("{}: 'threads' should be at least 1, found {}", where, *threads);
  if (vcpus && *vcpus < 1) fail_usage("{}: 'vcpus' should be at least 1, found {}", where, *vcpus);
  if (country.empty() || find_grid(country) != nullptr) return;
  std::vector<std::string> known;
  for (const Grid& grid : grids()) {
    known.emplace_back(grid.iso3);
    known.emplace_back(grid.name);
  }
  const std::string_view near = nearest_name(country, known);
  fail_usage(
      "{}: 'country' is '{}', which is not in the table{}; use a code such as FRA, or set grid_g_per_kwh",
      where, country, near.empty() ? "" : fmt::format(" (did you mean '{}'?)", near));
}

double Prices::grid_intensity() const {
  if (grid_g_per_kwh) return *grid_g_per_kwh;
  const Grid* grid = country.empty() ? grids().data() : find_grid(country);
  CHECK(grid != nullptr, "country '{}' was not checked", country);
  return grid->g_per_kwh;
}

}  // namespace frugal
