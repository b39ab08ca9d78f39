// Thermal design power, turbo power and hardware threads of processors, from their makers' public
// specifications. A selection of what people rent and own; a processor that is missing falls to its family's
// wider interval.
#include <array>

#include "meter/energy.h"

namespace frugal {
namespace {

constexpr std::array kSpecs = {
    // AMD EPYC: Naples, Rome, Milan, Genoa, Bergamo, Siena, Turin
    CpuSpec{"EPYC 7551", 180, 0, 64},
    CpuSpec{"EPYC 7601", 180, 0, 64},
    CpuSpec{"EPYC 7452", 155, 0, 64},
    CpuSpec{"EPYC 7502", 180, 0, 64},
    CpuSpec{"EPYC 7702", 200, 0, 128},
    CpuSpec{"EPYC 7742", 225, 0, 128},
    CpuSpec{"EPYC 7543", 225, 0, 64},
    CpuSpec{"EPYC 7713", 225, 0, 128},
    CpuSpec{"EPYC 7763", 280, 0, 128},
    CpuSpec{"EPYC 8024P", 90, 0, 16},
    CpuSpec{"EPYC 8534P", 200, 0, 128},
    CpuSpec{"EPYC 9354", 280, 0, 64},
    CpuSpec{"EPYC 9554", 360, 0, 128},
    CpuSpec{"EPYC 9654", 360, 0, 192},
    CpuSpec{"EPYC 9754", 360, 0, 256},
    CpuSpec{"EPYC 9655", 400, 0, 192},
    CpuSpec{"EPYC 9755", 500, 0, 256},
    CpuSpec{"EPYC 9965", 500, 0, 384},
    // Intel Xeon
    CpuSpec{"E3-1240 V2", 69, 0, 8},
    CpuSpec{"E5-2620 v3", 85, 0, 12},
    CpuSpec{"E5-2680 v4", 120, 0, 28},
    CpuSpec{"E5-2690 v4", 135, 0, 28},
    CpuSpec{"E5-2699 v4", 145, 0, 44},
    CpuSpec{"Gold 6148", 150, 0, 40},
    CpuSpec{"Gold 6248", 150, 0, 40},
    CpuSpec{"Gold 6338", 205, 0, 64},
    CpuSpec{"Platinum 8168", 205, 0, 48},
    CpuSpec{"Platinum 8280", 205, 0, 56},
    CpuSpec{"Platinum 8380", 270, 0, 80},
    CpuSpec{"Platinum 8480+", 350, 0, 112},
    CpuSpec{"Platinum 8592+", 350, 0, 128},
    CpuSpec{"Xeon 6980P", 500, 0, 256},
    // AMD Ryzen: the turbo power is the socket's limit (PPT)
    CpuSpec{"Ryzen 5 3600", 65, 88, 12},
    CpuSpec{"Ryzen 7 3700X", 65, 88, 16},
    CpuSpec{"Ryzen 5 5600X", 65, 76, 12},
    CpuSpec{"Ryzen 7 5800X", 105, 142, 16},
    CpuSpec{"Ryzen 9 5950X", 105, 142, 32},
    CpuSpec{"Ryzen 5 7600", 65, 88, 12},
    CpuSpec{"Ryzen 7 7700X", 105, 142, 16},
    CpuSpec{"Ryzen 9 7950X", 170, 230, 32},
    CpuSpec{"Ryzen 9 9950X", 170, 230, 32},
    CpuSpec{"Ryzen Threadripper 3970X", 280, 0, 64},
    // Intel Core: the turbo power is "maximum turbo power" where Intel states one
    CpuSpec{"i5-8250U", 15, 0, 8},
    CpuSpec{"i7-8700", 65, 0, 12},
    CpuSpec{"i9-9900K", 95, 0, 16},
    CpuSpec{"i7-10700", 65, 0, 16},
    CpuSpec{"i7-1165G7", 28, 0, 8},
    CpuSpec{"i5-12400", 65, 117, 12},
    CpuSpec{"i7-12700K", 125, 190, 20},
    CpuSpec{"i9-12900K", 125, 241, 24},
    CpuSpec{"i5-13600K", 125, 181, 20},
    CpuSpec{"i9-13900K", 125, 253, 32},
    CpuSpec{"i9-14900K", 125, 253, 32},
    CpuSpec{"Ultra 7 155H", 28, 115, 22},
    CpuSpec{"Intel N100", 6, 0, 4},
};

// Common members; the few high-frequency models beyond these bounds need tdp_watts and threads.
constexpr std::array kFamilies = {
    CpuFamily{"EPYC", 1.3, 6.0},                // 9965: 500 W / 384; 8024P: 90 W / 16
    CpuFamily{"Ryzen Threadripper", 2.7, 6.5},  // 7980X: 350 W / 128; 1950X: 180 W / 32
    CpuFamily{"Ryzen", 0.9, 9.0},               // mobile: 15 W / 16; 7600X: 105 W / 12
    CpuFamily{"Xeon", 1.9, 9.0},                // 6980P: 500 W / 256; E5-2667 v4: 135 W / 16
    CpuFamily{"Intel Core", 1.2, 16.0},         // mobile: 15 W / 12; i5-9600K: 95 W / 6
    CpuFamily{"", 0.7, 16.0},                   // anything: from dense Arm servers to desktops
};

}  // namespace

std::span<const CpuSpec> cpu_specs() {
  return kSpecs;
}
std::span<const CpuFamily> cpu_families() {
  return kFamilies;
}

}  // namespace frugal
