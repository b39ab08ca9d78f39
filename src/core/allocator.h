// Memory for tensors. Freed blocks are kept by size and handed out again, so that a training step, whose
// shapes repeat, allocates nothing after the first. Peak use is counted exactly; with `dry` the blocks are
// reserved but never touched, which turns a dry run of a step into a memory preflight.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

namespace frugal {

class Allocator : public std::enable_shared_from_this<Allocator> {
 public:
  static std::shared_ptr<Allocator> create(bool dry = false) {
    return std::shared_ptr<Allocator>(new Allocator(dry));
  }
  ~Allocator();
  Allocator(const Allocator&) = delete;
  Allocator& operator=(const Allocator&) = delete;

  // 64-byte aligned, uninitialised; returns to this allocator when the last owner goes. Error when memory is
  // exhausted.
  std::shared_ptr<std::byte> allocate(size_t bytes);
  void release_unused();  // gives cached blocks back to the system
  bool dry() const { return dry_; }
  size_t in_use() const { return in_use_; }
  size_t peak() const { return peak_; }
  size_t mapped() const { return mapped_; }  // in use and kept: what the process holds
  void reset_peak() { peak_ = in_use_; }

 private:
  explicit Allocator(bool dry) : dry_(dry) {}
  void give_back(std::byte* block, size_t bytes);

  bool dry_;
  mutable std::mutex mutex_;
  std::array<std::vector<std::byte*>, 8 * 64> unused_;  // by the step of their size
  size_t in_use_ = 0, peak_ = 0, mapped_ = 0;
};

}  // namespace frugal
