#include "meter/energy.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

namespace frugal {
namespace {

std::string cpuinfo(const std::string& name, int processors = 2) {
  std::string text;
  for (int i = 0; i < processors; ++i) {
    text += "processor\t: " + std::to_string(i) + "\nmodel\t\t: 2\nmodel name\t: " + name +
            "\nflags\t\t: fpu\n\n";
  }
  return text;
}

TEST(CpuPower, KnownModelsByTheNamesMachinesGive) {
  const auto tdp_share = [](const std::string& name) {
    return cpu_power(cpuinfo(name), std::nullopt, std::nullopt).low_watts / 0.3;
  };
  EXPECT_NEAR(tdp_share("AMD EPYC 7763 64-Core Processor"), 280.0 / 128, 1e-9);
  EXPECT_NEAR(tdp_share("Intel(R) Xeon(R) Platinum 8480+"), 350.0 / 112, 1e-9);
  EXPECT_NEAR(tdp_share("INTEL(R) XEON(R) PLATINUM 8592+"), 350.0 / 128, 1e-9);
  EXPECT_NEAR(tdp_share("Intel(R) Xeon(R) CPU E5-2680 v4 @ 2.40GHz"), 120.0 / 28, 1e-9);
  EXPECT_NEAR(tdp_share("AMD Ryzen 9 7950X 16-Core Processor"), 170.0 / 32, 1e-9);
  EXPECT_NEAR(tdp_share("13th Gen Intel(R) Core(TM) i9-13900K"), 125.0 / 32, 1e-9);
  // The upper bound is 1.3 TDP, or the published turbo power where that is more.
  EXPECT_NEAR(cpu_power(cpuinfo("AMD EPYC 7763 64-Core Processor"), {}, {}).high_watts, 1.3 * 280 / 128,
              1e-9);
  EXPECT_NEAR(cpu_power(cpuinfo("13th Gen Intel(R) Core(TM) i9-13900K"), {}, {}).high_watts, 253.0 / 32,
              1e-9);
}

TEST(CpuPower, SimilarNamesAreOtherModels) {
  const CpuPower other = cpu_power(cpuinfo("Intel(R) Core(TM) i7-8700K CPU @ 3.70GHz"), {}, {});
  EXPECT_NE(other.source.find("not in the table"), std::string::npos);
  EXPECT_NE(cpu_power(cpuinfo("AMD EPYC 77631"), {}, {}).source.find("not in the table"), std::string::npos);
}

TEST(CpuPower, FamiliesAndUnknownsGiveWiderIntervals) {
  const CpuPower known = cpu_power(cpuinfo("AMD EPYC 7763"), {}, {});
  const CpuPower family = cpu_power(cpuinfo("AMD EPYC"), {}, {});
  const CpuPower unknown = cpu_power("processor : 0\nBogoMIPS : 50\n", {}, {});
  const auto width = [](const CpuPower& p) { return p.high_watts / p.low_watts; };
  EXPECT_LT(width(known), width(family));
  EXPECT_LT(width(family), width(unknown));
  EXPECT_EQ(family.name, "AMD EPYC");
  EXPECT_EQ(unknown.name, "an unnamed processor");
  EXPECT_GT(cpu_power("", {}, {}).low_watts, 0);
}

TEST(CpuPower, TheUserKnowsBetter) {
  EXPECT_NEAR(cpu_power(cpuinfo("AMD EPYC"), 100.0, 50).low_watts, 0.3 * 2, 1e-9);
  EXPECT_NEAR(cpu_power(cpuinfo("mystery", 8), 80.0, {}).high_watts, 1.3 * 10, 1e-9);
  EXPECT_NEAR(cpu_power(cpuinfo("AMD EPYC 7763"), {}, 64).low_watts, 0.3 * 280 / 64, 1e-9);
  EXPECT_NEAR(cpu_power(cpuinfo("13th Gen Intel(R) Core(TM) i9-13900K"), 65.0, {}).high_watts, 1.3 * 65 / 32,
              1e-9);
}

TEST(CpuPower, EveryRowFindsItself) {
  std::set<std::string_view> patterns;
  for (const CpuSpec& row : cpu_specs()) {
    EXPECT_TRUE(patterns.insert(row.pattern).second) << row.pattern;
    EXPECT_GT(row.threads, 0);
    EXPECT_TRUE(row.turbo_watts == 0 || row.turbo_watts > row.tdp_watts) << row.pattern;
    const double watts = row.tdp_watts / row.threads;
    EXPECT_GT(watts, 0.7) << row.pattern;
    EXPECT_LT(watts, 16) << row.pattern;
    EXPECT_NEAR(cpu_power(cpuinfo("X " + std::string(row.pattern) + " Y"), {}, {}).low_watts, 0.3 * watts,
                1e-9)
        << row.pattern;
  }
  EXPECT_TRUE(cpu_families().back().pattern.empty());
}

TEST(CpuPower, EveryKnownModelLiesInItsFamily) {
  for (const CpuSpec& row : cpu_specs()) {
    for (const CpuFamily& family : cpu_families()) {
      if (!family.pattern.empty() && row.pattern.find(family.pattern) == std::string_view::npos) continue;
      EXPECT_GE(row.tdp_watts / row.threads, family.low_watts_per_thread - 0.01) << row.pattern;
      EXPECT_LE(row.tdp_watts / row.threads, family.high_watts_per_thread) << row.pattern;
      break;
    }
  }
}

TEST(ModelledEnergy, IsTheStatedFormula) {
  CpuPower cpu;
  cpu.low_watts = 1;
  cpu.high_watts = 4;
  const Joules j = modelled_energy(cpu, 100, 50, {});
  EXPECT_NEAR(j.low, (100 * 1 + 50 * 0.1) * 1.1, 1e-9);
  EXPECT_NEAR(j.high, (100 * 4 + 50 * 0.4) * 1.6, 1e-9);
  EXPECT_FALSE(j.measured);
  EXPECT_NEAR(modelled_energy(cpu, 100, 50, 1.0).high, 420, 1e-9);
}

}  // namespace
}  // namespace frugal
