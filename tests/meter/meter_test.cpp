#include "meter/meter.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstring>

#include "core/error.h"
#include "meter/fake_powercap.h"
#include "meter/process.h"
#include "meter/temporary_directory.h"

namespace frugal {
namespace {

void burn_cpu(double seconds) {
  std::atomic<uint64_t> sink{0};
  const double end = process_cpu_seconds() + seconds;
  while (process_cpu_seconds() < end) {
    for (int i = 0; i < 1000; ++i) sink.fetch_add(1, std::memory_order_relaxed);
  }
}

class MeterTest : public testing::Test {
 protected:
  // Nothing of the machine but this process: no counters, a known processor, no sampling thread.
  MeterOptions options() const {
    MeterOptions options;
    options.powercap = powercap_.root();
    options.cpuinfo = dir_.path() / "cpuinfo";
    write_file_atomically(options.cpuinfo, "processor\t: 0\nmodel name\t: AMD EPYC 7763 64-Core Processor\n");
    options.sample_seconds = 0;
    return options;
  }
  TemporaryDirectory dir_;
  FakePowercap powercap_{dir_.path() / "powercap"};
};

TEST_F(MeterTest, CountsBelongToTheStagesTheyFallInto) {
  Meter meter(Prices{}, options());
  meter.add_tokens(1);
  auto outer = meter.start("outer");
  meter.add_flops(10);
  {
    auto inner = meter.start("inner");
    meter.add_flops(5);
    meter.add_bytes(7);
    meter.add_tokens(3);
    EXPECT_EQ(inner.bill().flops, 5);
  }
  meter.add_flops(100);
  EXPECT_EQ(outer.stop().flops, 115);
  meter.add_flops(1000);
  EXPECT_EQ(outer.bill().flops, 115);
  EXPECT_EQ(meter.total().flops, 1115);
  EXPECT_EQ(meter.total().tokens, 4);
  const auto stages = meter.stages();
  ASSERT_EQ(stages.size(), 2u);
  EXPECT_EQ(stages[0].name, "outer");
  EXPECT_FALSE(stages[0].running);
  EXPECT_EQ(stages[1].bill.tokens, 3);
  EXPECT_EQ(stages[1].bill.bytes, 7);
  EXPECT_THROW(meter.add_tokens(-1), std::logic_error);
}

TEST_F(MeterTest, UnnamedStagesAreNotListed) {
  Meter meter(Prices{}, options());
  auto kept = meter.start("kept");
  for (int i = 0; i < 3; ++i) {
    auto lap = meter.start();
    meter.add_tokens(2);
    EXPECT_EQ(lap.stop().tokens, 2);
    EXPECT_EQ(lap.bill().tokens, 2);
  }
  ASSERT_EQ(meter.stages().size(), 1u);
  EXPECT_TRUE(meter.stages()[0].running);
}

TEST_F(MeterTest, TimeAndModelledEnergy) {
  Prices prices;
  prices.pue = 1.0;
  prices.price_per_kwh = 0.5;
  prices.price_per_hour = 36;
  prices.price_per_vcpu_hour = 3.6;
  prices.vcpus = 10;
  prices.country = "FRA";
  Meter meter(prices, options());
  auto stage = meter.start("busy");
  burn_cpu(0.2);
  const Bill bill = stage.stop();
  EXPECT_GE(bill.cpu_seconds, 0.19);
  EXPECT_GE(bill.seconds, 0.09);
  EXPECT_LT(bill.seconds, 30);
  EXPECT_FALSE(bill.joules.measured);
  EXPECT_NE(bill.energy_source.find("AMD EPYC 7763"), std::string::npos);
  // Processor alone gives the floor; memory adds little.
  EXPECT_GE(bill.joules.low, bill.cpu_seconds * 0.3 * 280 / 128);
  EXPECT_LE(bill.joules.low, bill.cpu_seconds * 0.3 * 280 / 128 + bill.seconds * 100);
  EXPECT_GT(bill.joules.high, 4 * bill.joules.low * 0.9);
  const double kwh = bill.joules.middle() / 3.6e6;
  EXPECT_NEAR(bill.co2_g, kwh * 56, 1e-12);
  EXPECT_NEAR(bill.dollars, kwh * 0.5 + bill.seconds / 3600 * (36 + 36), 1e-12);
}

TEST_F(MeterTest, MeasuredEnergyIsTheCounters) {
  powercap_.zone("intel-rapl:0", "package-0", 1'000'000);
  powercap_.zone("intel-rapl:0/intel-rapl:0:0", "dram", 0);
  Meter meter(Prices{}, options());
  EXPECT_EQ(meter.energy_description(), "measured: package-0, dram");
  auto stage = meter.start("s");
  powercap_.set("intel-rapl:0", 5'000'000);
  const Bill bill = stage.stop();
  EXPECT_TRUE(bill.joules.measured);
  EXPECT_NEAR(bill.joules.low, 4, 1e-9);
  EXPECT_NEAR(bill.joules.high, 4, 1e-9);
  powercap_.set("intel-rapl:0", 6'000'000);
  EXPECT_NEAR(stage.bill().joules.low, 4, 1e-9);
  EXPECT_NEAR(meter.total().joules.low, 5, 1e-9);
}

TEST_F(MeterTest, MemoryIsModelledWhereThereIsNoDramCounter) {
  powercap_.zone("intel-rapl:0", "package-0", 0);
  Meter meter(Prices{}, options());
  burn_cpu(0.05);
  powercap_.set("intel-rapl:0", 1'000'000);
  const Bill bill = meter.total();
  EXPECT_TRUE(bill.joules.measured);
  EXPECT_GT(bill.joules.low, 1);
  EXPECT_GT(bill.joules.high, bill.joules.low);
  EXPECT_NE(bill.energy_source.find("memory modelled"), std::string::npos);
}

TEST_F(MeterTest, CountersThatStandStillAreNotBelieved) {
  powercap_.zone("intel-rapl:0", "package-0", 5);
  Meter meter(Prices{}, options());
  burn_cpu(0.6);
  const Bill bill = meter.total();
  EXPECT_FALSE(bill.joules.measured);
  EXPECT_GT(bill.joules.low, 0);
}

TEST_F(MeterTest, CountersLostMidwayFallBackToTheModel) {
  powercap_.zone("intel-rapl:0", "package-0", 0);
  Meter meter(Prices{}, options());
  burn_cpu(0.02);
  fs::remove_all(powercap_.root());
  const Bill bill = meter.total();
  EXPECT_FALSE(bill.joules.measured);
  EXPECT_GT(bill.joules.high, 0);
  EXPECT_NE(meter.energy_description().find("energy_uj"), std::string::npos) << meter.energy_description();
}

TEST_F(MeterTest, PeakMemoryIsTheStagesOwn) {
  Meter meter(Prices{}, options());
  constexpr size_t kBytes = 200 << 20;
  auto with = meter.start("with");
  {
    // Mapped, since an allocator (a sanitizer's above all) may keep what is freed.
    void* block = ::mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ASSERT_NE(block, MAP_FAILED);
    std::memset(block, 1, kBytes);
    EXPECT_GE(with.bill().peak_memory_bytes, static_cast<int64_t>(kBytes));  // a reading samples
    ::munmap(block, kBytes);
  }
  const Bill large = with.stop();
  EXPECT_GE(large.peak_memory_bytes, static_cast<int64_t>(kBytes));
  auto without = meter.start("without");
  EXPECT_LT(without.stop().peak_memory_bytes, large.peak_memory_bytes - static_cast<int64_t>(kBytes / 2));
  EXPECT_GE(meter.total().peak_memory_bytes, large.peak_memory_bytes);
}

TEST_F(MeterTest, SamplerSeesWraps) {
  powercap_.zone("intel-rapl:0", "package-0", 0, 10'000'000);
  MeterOptions with_thread = options();
  with_thread.sample_seconds = 0.005;
  Meter meter(Prices{}, with_thread);
  for (int turn = 0; turn < 4;
       ++turn) {  // 6 J a turn passes the 10 J range twice without any reading of ours
    powercap_.set("intel-rapl:0", static_cast<uint64_t>((turn + 1) * 6'000'000 % 10'000'000));
    ::usleep(200'000);
  }
  EXPECT_NEAR(meter.total().joules.low, 24, 0.5);
}

TEST_F(MeterTest, ManyThreadsAddAndRead) {
  MeterOptions with_thread = options();
  with_thread.sample_seconds = 0.001;
  Meter meter(Prices{}, with_thread);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&meter] {
      for (int i = 0; i < 500; ++i) {
        auto lap = meter.start();
        meter.add_tokens(1);
        meter.add_flops(2);
        EXPECT_GE(lap.stop().tokens, 1);
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(meter.total().tokens, 2000);
  EXPECT_EQ(meter.total().flops, 4000);
}

TEST_F(MeterTest, ChildrenCountWhenAsked) {
  MeterOptions with_children = options();
  with_children.with_children = true;
  Meter counting(Prices{}, with_children);
  Meter alone(Prices{}, options());
  const pid_t child = ::fork();
  if (child == 0) {
    burn_cpu(0.2);
    ::_exit(0);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_GE(counting.total().cpu_seconds, 0.19);
  EXPECT_LT(alone.total().cpu_seconds, 0.15);
}

TEST_F(MeterTest, BadInput) {
  Prices prices;
  prices.country = "Atlantis";
  EXPECT_THROW(Meter(prices, options()), UsageError);
  MeterOptions no_proc = options();
  no_proc.process = dir_.path() / "nothing";
  EXPECT_THROW(Meter(Prices{}, no_proc), Error);
  write_file_atomically(dir_.path() / "status", "Name: x\nVmRSS: none\n");
  EXPECT_NE(error_of([&] { process_memory(dir_.path()); }).find("VmRSS"), std::string::npos);
  MeterOptions no_cpuinfo = options();
  no_cpuinfo.cpuinfo = dir_.path() / "nothing";
  Meter meter(Prices{}, no_cpuinfo);
  EXPECT_NE(meter.energy_description().find("unnamed processor"), std::string::npos);
}

}  // namespace
}  // namespace frugal
