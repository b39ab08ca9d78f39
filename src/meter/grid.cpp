// Carbon intensity of electricity, grams of CO2 equivalent per kWh generated, about 2023 (Our World in Data
// from Ember and the Energy Institute, rounded). They are approximations: sources differ by a few percent,
// years by ten, and hours by a factor. Set grid_g_per_kwh where a better figure is known.
#include <array>
#include <cctype>
#include <span>

#include "meter/prices.h"

namespace frugal {
namespace {

constexpr std::array kGrids = {
    Grid{"WLD", "", "World", 475},           Grid{"ARE", "AE", "United Arab Emirates", 493},
    Grid{"ARG", "AR", "Argentina", 354},     Grid{"AUS", "AU", "Australia", 549},
    Grid{"AUT", "AT", "Austria", 111},       Grid{"BEL", "BE", "Belgium", 138},
    Grid{"BGD", "BD", "Bangladesh", 691},    Grid{"BGR", "BG", "Bulgaria", 335},
    Grid{"BRA", "BR", "Brazil", 98},         Grid{"CAN", "CA", "Canada", 171},
    Grid{"CHE", "CH", "Switzerland", 35},    Grid{"CHL", "CL", "Chile", 291},
    Grid{"CHN", "CN", "China", 582},         Grid{"COL", "CO", "Colombia", 260},
    Grid{"CZE", "CZ", "Czechia", 450},       Grid{"DEU", "DE", "Germany", 381},
    Grid{"DNK", "DK", "Denmark", 152},       Grid{"DZA", "DZ", "Algeria", 634},
    Grid{"EGY", "EG", "Egypt", 570},         Grid{"ESP", "ES", "Spain", 174},
    Grid{"EST", "EE", "Estonia", 417},       Grid{"FIN", "FI", "Finland", 79},
    Grid{"FRA", "FR", "France", 56},         Grid{"GBR", "GB", "United Kingdom", 238},
    Grid{"GRC", "GR", "Greece", 337},        Grid{"HRV", "HR", "Croatia", 205},
    Grid{"HUN", "HU", "Hungary", 204},       Grid{"IDN", "ID", "Indonesia", 676},
    Grid{"IND", "IN", "India", 713},         Grid{"IRL", "IE", "Ireland", 283},
    Grid{"IRN", "IR", "Iran", 655},          Grid{"ISL", "IS", "Iceland", 28},
    Grid{"ISR", "IL", "Israel", 583},        Grid{"ITA", "IT", "Italy", 331},
    Grid{"JPN", "JP", "Japan", 485},         Grid{"KAZ", "KZ", "Kazakhstan", 821},
    Grid{"KEN", "KE", "Kenya", 71},          Grid{"KOR", "KR", "South Korea", 431},
    Grid{"LTU", "LT", "Lithuania", 160},     Grid{"LVA", "LV", "Latvia", 124},
    Grid{"MAR", "MA", "Morocco", 631},       Grid{"MEX", "MX", "Mexico", 507},
    Grid{"MYS", "MY", "Malaysia", 606},      Grid{"NGA", "NG", "Nigeria", 523},
    Grid{"NLD", "NL", "Netherlands", 268},   Grid{"NOR", "NO", "Norway", 30},
    Grid{"NZL", "NZ", "New Zealand", 113},   Grid{"PAK", "PK", "Pakistan", 441},
    Grid{"PER", "PE", "Peru", 266},          Grid{"PHL", "PH", "Philippines", 610},
    Grid{"POL", "PL", "Poland", 662},        Grid{"PRT", "PT", "Portugal", 166},
    Grid{"ROU", "RO", "Romania", 241},       Grid{"RUS", "RU", "Russia", 441},
    Grid{"SAU", "SA", "Saudi Arabia", 707},  Grid{"SGP", "SG", "Singapore", 471},
    Grid{"SRB", "RS", "Serbia", 636},        Grid{"SVK", "SK", "Slovakia", 117},
    Grid{"SVN", "SI", "Slovenia", 231},      Grid{"SWE", "SE", "Sweden", 41},
    Grid{"THA", "TH", "Thailand", 550},      Grid{"TUR", "TR", "Turkey", 464},
    Grid{"TWN", "TW", "Taiwan", 644},        Grid{"UKR", "UA", "Ukraine", 260},
    Grid{"USA", "US", "United States", 369}, Grid{"VNM", "VN", "Vietnam", 472},
    Grid{"ZAF", "ZA", "South Africa", 708},
};

bool same(std::string_view a, std::string_view b) {
  if (a.size() != b.size() || a.empty()) return false;
  for (size_t i = 0; i < a.size(); ++i) {
    if (std::tolower(static_cast<unsigned char>(a[i])) != std::tolower(static_cast<unsigned char>(b[i])))
      return false;
  }
  return true;
}

}  // namespace

std::span<const Grid> grids() {
  return kGrids;
}

const Grid* find_grid(std::string_view country) {
  for (const Grid& grid : kGrids) {
    if (same(country, grid.iso3) || same(country, grid.iso2) || same(country, grid.name)) return &grid;
  }
  return nullptr;
}

}  // namespace frugal
