#include "meter.h"

#include <malloc.h>

#include <atomic>
#include <cstdlib>
#include <new>

namespace {
std::atomic<size_t> held{0}, peak{0}, base{0};

void* counted(void* p) {
  if (p == nullptr) throw std::bad_alloc();
  const size_t now = held += malloc_usable_size(p);
  size_t most = peak;
  while (now > most && !peak.compare_exchange_weak(most, now)) {
  }
  return p;
}
void release(void* p) {
  if (p == nullptr) return;
  held -= malloc_usable_size(p);
  std::free(p);
}
size_t rounded(size_t size, std::align_val_t alignment) {  // aligned_alloc wants a multiple
  const auto a = static_cast<size_t>(alignment);
  return (size + a - 1) / a * a;
}
}  // namespace

void* operator new(size_t size) {
  return counted(std::malloc(size));
}
void* operator new[](size_t size) {
  return counted(std::malloc(size));
}
void* operator new(size_t size, std::align_val_t a) {
  return counted(std::aligned_alloc(static_cast<size_t>(a), rounded(size, a)));
}
void* operator new[](size_t size, std::align_val_t a) {
  return counted(std::aligned_alloc(static_cast<size_t>(a), rounded(size, a)));
}
void* operator new(size_t size, const std::nothrow_t&) noexcept {  // what std::stable_sort asks for
  void* p = std::malloc(size);
  return p == nullptr ? nullptr : counted(p);
}
void operator delete(void* p) noexcept {
  release(p);
}
void operator delete[](void* p) noexcept {
  release(p);
}
void operator delete(void* p, size_t) noexcept {
  release(p);
}
void operator delete[](void* p, size_t) noexcept {
  release(p);
}
void operator delete(void* p, std::align_val_t) noexcept {
  release(p);
}
void operator delete[](void* p, std::align_val_t) noexcept {
  release(p);
}
void operator delete(void* p, size_t, std::align_val_t) noexcept {
  release(p);
}
void operator delete[](void* p, size_t, std::align_val_t) noexcept {
  release(p);
}

namespace frugal::fuzz {

void reset_peak() {
  base = held.load();
  peak = held.load();
}
size_t peak_bytes() {
  return peak - base;
}

}  // namespace frugal::fuzz
