// What time, energy and the grid's carbon cost: the recipe's [meter] table and the user's configuration file.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/fields.h"

namespace frugal {

struct Prices {
  std::optional<double> price_per_hour, price_per_vcpu_hour, price_per_gb_hour;
  double price_per_kwh = 0.20;  // near the mean household price over the world
  std::string country;
  std::optional<double> grid_g_per_kwh, pue, tdp_watts;
  std::optional<int64_t> threads, vcpus;

  void visit(FieldVisitor& v) {
    v.field("price_per_hour", price_per_hour, "dollars per hour for the whole machine");
    v.field("price_per_vcpu_hour", price_per_vcpu_hour, "dollars per hour for each of the machine's vcpus");
    v.field("price_per_gb_hour", price_per_gb_hour, "dollars per hour for each GB of peak memory");
    v.field("price_per_kwh", price_per_kwh,
            "dollars per kWh of electricity; 0 when the hourly price includes it");
    v.field("country", country, "country of the grid: FRA, FR or France; empty: the world's mean");
    v.field("grid_g_per_kwh", grid_g_per_kwh, "grams of CO2 per kWh, instead of the country's");
    v.field("pue", pue,
            "the site's energy over the machine's; unset: 1 when measured, 1.1 to 1.6 when modelled");
    v.field("tdp_watts", tdp_watts, "thermal design power of the whole processor, for the energy model");
    v.field("threads", threads,
            "hardware threads of that whole processor (the host's, in a virtual machine)");
    v.field("vcpus", vcpus, "vcpus paid for with price_per_vcpu_hour; unset: those this process may use");
  }

  // UsageError naming `where` and the key for a negative or not finite price, pue below 1, unknown country,
  // ...
  void check(std::string_view where) const;
  // grams of CO2 equivalent per kWh: as given, or the country's, or the world's.
  double grid_intensity() const;
};

// Yearly mean carbon intensity of the electricity that a country generates.
struct Grid {
  std::string_view iso3, iso2, name;
  double g_per_kwh;
};
std::span<const Grid> grids();  // the first is the world
// By either code or the name, in any case; null when unknown.
const Grid* find_grid(std::string_view country);

}  // namespace frugal
