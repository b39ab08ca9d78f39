#include "core/allocator.h"

#include <sys/mman.h>

#include <algorithm>
#include <bit>

#include "core/error.h"
#include "core/huge_pages.h"

namespace frugal {
namespace {

// Sizes are rounded up to one of eight steps per power of two, so that nearly equal requests share blocks.
size_t bucket(size_t bytes) {
  bytes = std::max<size_t>(bytes, 4096);
  const size_t step = std::bit_floor(bytes) / 8;
  return (bytes + step - 1) / step * step;
}

// The number of such a size.
size_t index_of(size_t size) {
  const size_t step = std::bit_floor(size) / 8;
  return static_cast<size_t>(std::countr_zero(step)) * 8 + size / step - 8;
}
size_t size_of(size_t index) {
  return (index % 8 + 8) << (index / 8);
}

}  // namespace

Allocator::~Allocator() {
  release_unused();
}

std::shared_ptr<std::byte> Allocator::allocate(size_t bytes) {
  const size_t size = bucket(bytes);
  std::byte* block = nullptr;
  {
    const std::lock_guard lock(mutex_);
    auto& list = unused_[index_of(size)];
    if (!list.empty()) {
      block = list.back();
      list.pop_back();
    }
    in_use_ += size;
    peak_ = std::max(peak_, in_use_);
  }
  if (block == nullptr) {
    // NORESERVE: pages count only when touched, so a dry run may be larger than the machine.
    void* map =
        ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (map == MAP_FAILED) {
      const std::lock_guard lock(mutex_);
      in_use_ -= size;
      fail(
          "out of memory: {:.1f} MB more were needed with {:.1f} MB in use; a smaller batch or model needs "
          "less",
          static_cast<double>(size) / 1e6, static_cast<double>(in_use_) / 1e6);
    }
    block = static_cast<std::byte*>(map);
    prefer_huge_pages(map, size);
    const std::lock_guard lock(mutex_);
    mapped_ += size;
  }
  return {block, [self = shared_from_this(), size](std::byte* p) { self->give_back(p, size); }};
}

void Allocator::give_back(std::byte* block, size_t bytes) {
  const std::lock_guard lock(mutex_);
  in_use_ -= bytes;
  unused_[index_of(bytes)].push_back(block);
}

void Allocator::release_unused() {
  const std::lock_guard lock(mutex_);
  for (size_t i = 0; i < unused_.size(); ++i) {
    const size_t size = size_of(i);
    auto& blocks = unused_[i];
    for (std::byte* block : blocks) ::munmap(block, size);
    mapped_ -= size * blocks.size();
    blocks.clear();
  }
}

}  // namespace frugal
