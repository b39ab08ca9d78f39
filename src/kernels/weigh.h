// Products with matrices that lie the other way round, for few rows: see WeighRows. A row's bits depend on
// its x and W only.
#pragma once

#include <span>

#include "core/thread_pool.h"
#include "kernels/kernels.h"

namespace frugal::kernels {

// All problems share the threads. Outputs must not overlap. CHECKs strides and blocks.
void weigh_rows(ThreadPool& pool, const Table& table, std::span<const WeighRows> problems);

}  // namespace frugal::kernels
