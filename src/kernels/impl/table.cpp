// Fills this instruction set's Table. Each kernel has a declaration and an initialiser here; leaving one out
// is a compile error (missing-field-initializers), a signature that differs from the field's is a link error.
#include "kernels/kernels.h"
#include "kernels/vec.h"

namespace frugal::kernels::KERNEL_TARGET {
namespace {

template <class Pointer>
struct Pointee;
template <class Function>
struct Pointee<Function*> {
  using Type = Function;
};
// The function type behind a field of Table: `Kernel<decltype(Table::exp)> exp;` declares the kernel.
template <class Pointer>
using Kernel = typename Pointee<Pointer>::Type;

}  // namespace

Kernel<decltype(Table::fma_loop)> fma_loop;
Kernel<decltype(Table::read_loop)> read_loop;
Kernel<decltype(Table::f32_to_bf16)> f32_to_bf16;
Kernel<decltype(Table::bf16_to_f32)> bf16_to_f32;
Kernel<decltype(Table::exp)> exp;

#define FRUGAL_NAME_OF(target) #target
#define FRUGAL_NAME(target) FRUGAL_NAME_OF(target)
extern const Table table = {
    .name = FRUGAL_NAME(KERNEL_TARGET),
    .lanes = kLanes,
    .fma_loop = fma_loop,
    .read_loop = read_loop,
    .f32_to_bf16 = f32_to_bf16,
    .bf16_to_f32 = bf16_to_f32,
    .exp = exp,
};

}  // namespace frugal::kernels::KERNEL_TARGET
