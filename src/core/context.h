// What an op needs besides its inputs. Passed by reference everywhere; there are no globals, so several
// engines can live in one process.
#pragma once

#include <memory>

#include "core/allocator.h"
#include "core/thread_pool.h"

namespace frugal {

namespace kernels {
struct Table;
}
class Tape;
class Aux;
class Profile;

// exact: dequantised weights, f32 activations and KV; the reference of every golden.
// fast: int8 activations for quantised weights, bf16 ones for bf16 weights where that is faster; bf16 KV.
// bf16: matrix products round both sides to bf16 and accumulate in f32 (training on machines that have it).
enum class Compute { exact, fast, bf16 };

struct Context {
  ThreadPool& pool;
  const kernels::Table& kernels;  // the instruction set chosen at start
  std::shared_ptr<Allocator> memory = Allocator::create();
  Compute compute = Compute::exact;
  // Forward products read weights as they lie in memory, one dot product an output (inference: best for few
  // rows), or through packed panels (training: best for many). Rounding differs, so a context keeps to one.
  bool stream_weights = true;
  Tape* tape = nullptr;                           // ops record themselves here when there is one
  Aux* aux = nullptr;                             // side results of a forward: routing counts, balance loss
  Profile* profile = nullptr;                     // where time goes (core/profile.h); null: not asked for
  bool dry_run() const { return memory->dry(); }  // allocate as usual, compute nothing: the memory preflight
};

}  // namespace frugal
