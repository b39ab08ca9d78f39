#include "meter/rapl.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/error.h"
#include "meter/fake_powercap.h"
#include "meter/temporary_directory.h"

namespace frugal {
namespace {

class RaplTest : public testing::Test {
 protected:
  TemporaryDirectory dir_;
  FakePowercap powercap_{dir_.path() / "powercap"};
};

TEST_F(RaplTest, AddsPackagesAndDramAndNothingTwice) {
  // Two packages with their parts, the platform zone that contains them, and the memory-mapped twin of the
  // first.
  powercap_.zone("intel-rapl:0", "package-0", 1'000'000);
  powercap_.zone("intel-rapl:0/intel-rapl:0:0", "core", 0);
  powercap_.zone("intel-rapl:0/intel-rapl:0:1", "dram", 500);
  powercap_.zone("intel-rapl:1", "package-1", 0);
  powercap_.zone("intel-rapl:1/intel-rapl:1:0", "dram", 0);
  powercap_.zone("intel-rapl:2", "psys", 0);
  powercap_.zone("intel-rapl-mmio:0", "package-0", 0);
  Rapl rapl(powercap_.root(), 0);
  ASSERT_TRUE(rapl.available()) << rapl.reason();
  EXPECT_TRUE(rapl.has_dram());
  EXPECT_EQ(rapl.zones(), "package-0, dram, package-1, dram");
  for (const char* zone : {"intel-rapl:0", "intel-rapl:1", "intel-rapl:2", "intel-rapl-mmio:0",
                           "intel-rapl:0/intel-rapl:0:0", "intel-rapl:0/intel-rapl:0:1"}) {
    powercap_.set(zone, 3'000'000);
  }
  rapl.sample(1);
  EXPECT_NEAR(rapl.joules(), 2.0 + 2.9995 + 3.0, 1e-9);
  rapl.sample(2);
  EXPECT_NEAR(rapl.joules(), 2.0 + 2.9995 + 3.0, 1e-9);
}

TEST_F(RaplTest, FlatClassDirectoryIsReadOnce) {  // as /sys/class/powercap lists it: links beside each other
  powercap_.zone("intel-rapl:0", "package-0", 0);
  powercap_.zone("intel-rapl:0/intel-rapl:0:0", "dram", 0);
  fs::create_directory_symlink("intel-rapl:0/intel-rapl:0:0", powercap_.root() / "intel-rapl:0:0");
  const Rapl rapl(powercap_.root(), 0);
  EXPECT_EQ(rapl.zones(), "package-0, dram");
}

TEST_F(RaplTest, PackageWithoutDramSaysSo) {
  powercap_.zone("intel-rapl:0", "package-0", 0);
  const Rapl rapl(powercap_.root(), 0);
  EXPECT_TRUE(rapl.available());
  EXPECT_FALSE(rapl.has_dram());
}

TEST_F(RaplTest, OnlyTheMemoryMappedZone) {
  powercap_.zone("intel-rapl-mmio:0", "package-0", 0);
  EXPECT_TRUE(Rapl(powercap_.root(), 0).available());
}

TEST_F(RaplTest, WrapsAndResets) {
  powercap_.zone("intel-rapl:0", "package-0", 9'000'000, 10'000'000);
  Rapl rapl(powercap_.root(), 0);
  powercap_.set("intel-rapl:0", 500'000);  // 1 J to the end of the range and half a joule on
  rapl.sample(1);
  EXPECT_NEAR(rapl.joules(), 1.5, 1e-9);

  powercap_.zone("intel-rapl:0", "package-0", 1'000'000);
  Rapl after_suspend(powercap_.root(), 0);
  powercap_.set("intel-rapl:0", 200'000);  // as a wrap this would be 262 kJ within a second
  after_suspend.sample(1);
  EXPECT_NEAR(after_suspend.joules(), 0.2, 1e-9);
}

TEST_F(RaplTest, AbsentEmptyOrBroken) {
  EXPECT_FALSE(Rapl(dir_.path() / "missing", 0).available());
  EXPECT_NE(Rapl(powercap_.root(), 0).reason().find("no RAPL package"), std::string::npos);
  powercap_.zone("intel-rapl:0", "psys", 0);
  EXPECT_FALSE(Rapl(powercap_.root(), 0).available());
  powercap_.zone("intel-rapl:1", "package-0", 0);
  for (const char* content : {"", "x", "-5", "12 13", "99999999999999999999999"}) {
    write_file_atomically(powercap_.root() / "intel-rapl:1/energy_uj", content);
    const Rapl rapl(powercap_.root(), 0);
    EXPECT_FALSE(rapl.available()) << content;
    EXPECT_NE(rapl.reason().find("energy_uj"), std::string::npos) << rapl.reason();
  }
}

TEST_F(RaplTest, CounterThatVanishesEndsTheMeasurement) {
  powercap_.zone("intel-rapl:0", "package-0", 0);
  Rapl rapl(powercap_.root(), 0);
  fs::remove(powercap_.root() / "intel-rapl:0/energy_uj");
  rapl.sample(1);
  EXPECT_FALSE(rapl.available());
  EXPECT_FALSE(rapl.reason().empty());
}

TEST_F(RaplTest, PermissionDeniedIsToldWithTheRemedy) {
  powercap_.zone("intel-rapl:0", "package-0", 0);
  fs::permissions(powercap_.root() / "intel-rapl:0/energy_uj", fs::perms::none);
  const pid_t child = ::fork();  // root reads everything, so look as nobody
  if (child == 0) {
    if (::geteuid() == 0 && ::seteuid(65534) != 0) ::_exit(2);
    const Rapl rapl(powercap_.root(), 0);
    ::_exit(!rapl.available() && rapl.reason().find("chmod") != std::string::npos ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

}  // namespace
}  // namespace frugal
