// What an op says about itself to a profile, if there is one: its name, the floating-point operations of its
// forward and the bytes of weights, keys and rows that it has to touch. Its backward is taken for twice that
// work.
#pragma once

#include "autograd/tape.h"
#include "core/profile.h"

namespace frugal::ops {

class OpScope {
 public:
  // `name` is a literal: it outlives the tape.
  OpScope(const Context& ctx, const char* name, double flops = 0, double bytes = 0)
      : scope_(ctx.profile, name), tape_(ctx.profile != nullptr ? ctx.tape : nullptr) {
    scope_.work(flops, bytes);
    if (tape_ != nullptr) before_ = tape_->begin_op({name, flops, bytes});
  }
  ~OpScope() {
    if (tape_ != nullptr) tape_->begin_op(before_);
  }
  OpScope(const OpScope&) = delete;
  OpScope& operator=(const OpScope&) = delete;

 private:
  ProfileScope scope_;
  Tape* tape_;
  Tape::Op before_;
};

inline double product_flops(int64_t rows, int64_t in, int64_t out) {
  return 2.0 * static_cast<double>(rows) * static_cast<double>(in) * static_cast<double>(out);
}
// Of the tensors' values as they are stored.
template <class... T>
double bytes_of(const T&... tensors) {
  return (0.0 + ... + (tensors ? static_cast<double>(tensors.bytes()) : 0.0));
}

}  // namespace frugal::ops
