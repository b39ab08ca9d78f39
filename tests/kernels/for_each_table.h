// Helpers to run a kernel test once per instruction set that this machine has.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <vector>

#include "core/rng.h"
#include "kernels/dispatch.h"

namespace frugal::kernels {

// Calls body(table) for every available table; failures name the table.
template <class Body>
void for_each_table(Body&& body) {
  for (const Table* table : available()) {
    SCOPED_TRACE(table->name);
    body(*table);
  }
}

}  // namespace frugal::kernels
