#include "meter/bill.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>

#include "core/error.h"
#include "meter/prices.h"
#include "meter/temporary_directory.h"
#include "meter/units.h"

namespace frugal {
namespace {

Bill sample_bill() {
  Bill bill;
  bill.seconds = 100;
  bill.cpu_seconds = 190;
  bill.flops = 2e13;
  bill.bytes = 3e11;
  bill.tokens = 500'000;
  bill.peak_memory_bytes = 1'500'000'000;
  bill.joules = {400, 900, false};
  bill.dollars = 0.001;
  bill.co2_g = 0.08;
  bill.energy_source = "model";
  return bill;
}

TEST(Bill, HasTheContractsKeysAndRoundTrips) {
  const Json json = bill_json(sample_bill());
  EXPECT_EQ(json["tokens"], 500'000);
  EXPECT_EQ(json["seconds"], 100);
  EXPECT_EQ(to_text(json["joules"]), R"({"low":400.0,"high":900.0,"measured":false})");
  EXPECT_EQ(json["dollars"], 0.001);
  EXPECT_EQ(json["co2_g"], 0.08);
  Bill back;
  read_fields(back, json, "bill");
  EXPECT_EQ(bill_json(back), json);
}

TEST(Bill, Adds) {
  Bill sum;
  sum.add(sample_bill());
  EXPECT_EQ(bill_json(sum), bill_json(sample_bill()));
  Bill measured = sample_bill();
  measured.joules = {500, 500, true};
  measured.energy_source = "package-0";
  measured.peak_memory_bytes = 7;
  sum.add(measured);
  EXPECT_EQ(sum.seconds, 200);
  EXPECT_EQ(sum.tokens, 1'000'000);
  EXPECT_EQ(sum.peak_memory_bytes, 1'500'000'000);
  EXPECT_EQ(sum.joules.low, 900);
  EXPECT_FALSE(sum.joules.measured);
  EXPECT_EQ(sum.energy_source, "several sources");
  Bill only_measured;
  only_measured.add(measured);
  EXPECT_TRUE(only_measured.joules.measured);
}

TEST(Bill, TextSaysWhatIsModelled) {
  const std::string text = bill_text(sample_bill());
  for (const char* part :
       {"1 min 40 s", "500000", "5 ktok/s", "20 TFLOP", "200 GFLOP/s", "1.5 GB", "400 J to 900 J",
        "modelled: model", "$0.001", "$0.002 per million tokens", "0.08 g"}) {
    EXPECT_NE(text.find(part), std::string::npos) << part << "\n" << text;
  }
  EXPECT_EQ(bill_text(Bill{}).find("tok/s"), std::string::npos);
}

TEST(Units, ThreeDigits) {
  EXPECT_EQ(format_quantity(0, "J"), "0 J");
  EXPECT_EQ(format_quantity(999.4, "J"), "999 J");
  EXPECT_EQ(format_quantity(999.6, "J"), "1 kJ");
  EXPECT_EQ(format_quantity(1.2345e9, "FLOP"), "1.23 GFLOP");
  EXPECT_EQ(format_quantity(3e24, "FLOP"), "3e+03 ZFLOP");
  EXPECT_EQ(format_duration(0.417), "0.42 s");
  EXPECT_EQ(format_duration(59.97), "1 min 00 s");
  EXPECT_EQ(format_duration(192), "3 min 12 s");
  EXPECT_EQ(format_duration(7500), "2 h 05 min");
  EXPECT_EQ(format_duration(86400.0 * 3 + 4 * 3600), "3 d 04 h");
  EXPECT_EQ(format_duration(std::numeric_limits<double>::infinity()), "?");
  EXPECT_EQ(format_duration(-1), "?");
}

TEST(Prices, ReadFromARecipe) {
  Prices prices;
  read_fields(prices,
              parse_json(R"({"price_per_hour": 0.5, "country": "fr", "pue": 1.2, "threads": 128})", "t"),
              "t");
  prices.check("recipe.toml");
  EXPECT_EQ(prices.price_per_hour, 0.5);
  EXPECT_EQ(prices.grid_intensity(), 56);
  prices.grid_g_per_kwh = 10;
  EXPECT_EQ(prices.grid_intensity(), 10);
  EXPECT_EQ(Prices{}.grid_intensity(), 475);
  EXPECT_THROW(read_fields(prices, parse_json(R"({"price_per_hours": 1})", "t"), "t"), UsageError);
}

TEST(Prices, ImpossibleOnesAreNamed) {
  const auto refused = [](auto change) {
    Prices prices;
    change(prices);
    return error_of([&] { prices.check("recipe.toml: meter"); });
  };
  EXPECT_NE(refused([](Prices& p) { p.price_per_hour = -1; }).find("'price_per_hour'"), std::string::npos);
  EXPECT_NE(refused([](Prices& p) { p.price_per_kwh = std::nan(""); }).find("'price_per_kwh'"),
            std::string::npos);
  EXPECT_NE(refused([](Prices& p) { p.pue = 0.9; }).find("'pue'"), std::string::npos);
  EXPECT_NE(refused([](Prices& p) { p.tdp_watts = 0; }).find("'tdp_watts'"), std::string::npos);
  EXPECT_NE(refused([](Prices& p) { p.threads = 0; }).find("'threads'"), std::string::npos);
  EXPECT_NE(refused([](Prices& p) { p.vcpus = -2; }).find("'vcpus'"), std::string::npos);
  const std::string country = refused([](Prices& p) { p.country = "Germny"; });
  EXPECT_NE(country.find("did you mean 'Germany'"), std::string::npos) << country;
}

TEST(Grid, TableIsSane) {
  std::set<std::string_view> codes;
  for (const Grid& grid : grids()) {
    EXPECT_EQ(grid.iso3.size(), 3u);
    EXPECT_TRUE(codes.insert(grid.iso3).second) << grid.iso3;
    EXPECT_TRUE(codes.insert(grid.iso2).second) << grid.iso2;
    EXPECT_GT(grid.g_per_kwh, 10);
    EXPECT_LT(grid.g_per_kwh, 1000);
    EXPECT_EQ(find_grid(grid.name), &grid);
    EXPECT_EQ(find_grid(grid.iso3), &grid);
  }
  EXPECT_EQ(find_grid("sweden")->g_per_kwh, 41);
  EXPECT_EQ(find_grid("us")->g_per_kwh, 369);
  EXPECT_EQ(find_grid(""), nullptr);
  EXPECT_EQ(find_grid("Atlantis"), nullptr);
}

}  // namespace
}  // namespace frugal
