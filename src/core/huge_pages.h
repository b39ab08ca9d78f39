// Memory in pages of 2 MB where the system has them to give.
#pragma once

#include <cstddef>

namespace frugal {

// Asks for large pages behind [start, start + bytes): walks over matrices whose rows lie kilobytes apart need
// one translation of an address for many rows then. Before the memory is first touched; memory too small for
// it to matter is left alone, and a system that has none to give goes on with small ones.
void prefer_huge_pages(void* start, size_t bytes);

}  // namespace frugal
