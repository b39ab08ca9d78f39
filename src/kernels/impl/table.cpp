// Fills this instruction set's Table. Each kernel has a declaration and an initialiser here; leaving one out
// is a compile error (missing-field-initializers), a signature that differs from the field's is a link error.
#include "kernels/impl/gemm_tile.h"
#include "kernels/impl/quant_tile.h"
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
Kernel<decltype(Table::f16_to_f32)> f16_to_f32;
Kernel<decltype(Table::exp)> exp;
Kernel<decltype(Table::rms_norm_forward)> rms_norm_forward;
Kernel<decltype(Table::rms_norm_backward)> rms_norm_backward;
Kernel<decltype(Table::layer_norm_forward)> layer_norm_forward;
Kernel<decltype(Table::layer_norm_backward)> layer_norm_backward;
Kernel<decltype(Table::add_rows)> add_rows;
Kernel<decltype(Table::rope_apply)> rope_apply;
Kernel<decltype(Table::swiglu_forward)> swiglu_forward;
Kernel<decltype(Table::swiglu_backward)> swiglu_backward;
Kernel<decltype(Table::cross_entropy_rows)> cross_entropy_rows;
Kernel<decltype(Table::gather_rows)> gather_rows;
Kernel<decltype(Table::scatter_add_rows)> scatter_add_rows;
Kernel<decltype(Table::combine_rows)> combine_rows;
Kernel<decltype(Table::combine_rows_backward)> combine_rows_backward;
Kernel<decltype(Table::gelu_forward)> gelu_forward;
Kernel<decltype(Table::gelu_backward)> gelu_backward;
Kernel<decltype(Table::add)> add;
Kernel<decltype(Table::axpy)> axpy;
Kernel<decltype(Table::scale)> scale;
Kernel<decltype(Table::sum_of_squares)> sum_of_squares;
Kernel<decltype(Table::adamw_update)> adamw_update;
Kernel<decltype(Table::attention_forward)> attention_forward;
Kernel<decltype(Table::attention_stream)> attention_stream;
Kernel<decltype(Table::attention_merge)> attention_merge;
Kernel<decltype(Table::attention_finish)> attention_finish;
Kernel<decltype(Table::attention_backward)> attention_backward;
Kernel<decltype(Table::attention_delta)> attention_delta;
Kernel<decltype(Table::weigh_rows)> weigh_rows;
Kernel<decltype(Table::gemm_packed_a)> gemm_packed_a;
Kernel<decltype(Table::gemm_pack_a)> gemm_pack_a;
Kernel<decltype(Table::gemm_pack_b)> gemm_pack_b;
Kernel<decltype(Table::gemm_block)> gemm_block;
Kernel<decltype(Table::linear_dot)> linear_dot;
Kernel<decltype(Table::quantize_rows)> quantize_rows;
Kernel<decltype(Table::dequantize)> dequantize;
Kernel<decltype(Table::quant_dot)> quant_dot;

#define FRUGAL_NAME_OF(target) #target
#define FRUGAL_NAME(target) FRUGAL_NAME_OF(target)
extern const Table table = {
    .name = FRUGAL_NAME(KERNEL_TARGET),
    .lanes = kLanes,
#if defined(__AVX512BF16__)
    .bf16_pairs = true,
#else
    .bf16_pairs = false,
#endif
    .fma_loop = fma_loop,
    .read_loop = read_loop,
    .f32_to_bf16 = f32_to_bf16,
    .bf16_to_f32 = bf16_to_f32,
    .f16_to_f32 = f16_to_f32,
    .exp = exp,
    .rms_norm_forward = rms_norm_forward,
    .rms_norm_backward = rms_norm_backward,
    .layer_norm_forward = layer_norm_forward,
    .layer_norm_backward = layer_norm_backward,
    .add_rows = add_rows,
    .rope_apply = rope_apply,
    .swiglu_forward = swiglu_forward,
    .swiglu_backward = swiglu_backward,
    .cross_entropy_rows = cross_entropy_rows,
    .gather_rows = gather_rows,
    .scatter_add_rows = scatter_add_rows,
    .combine_rows = combine_rows,
    .combine_rows_backward = combine_rows_backward,
    .gelu_forward = gelu_forward,
    .gelu_backward = gelu_backward,
    .add = add,
    .axpy = axpy,
    .scale = scale,
    .sum_of_squares = sum_of_squares,
    .adamw_update = adamw_update,
    .attention_forward = attention_forward,
    .attention_stream = attention_stream,
    .attention_merge = attention_merge,
    .attention_finish = attention_finish,
    .attention_backward = attention_backward,
    .attention_delta = attention_delta,
    .weigh_rows = weigh_rows,
    .gemm_rows = kGemmRows,
    .gemm_columns = kGemmColumns,
    .gemm_packed_a = gemm_packed_a,
    .gemm_pack_a = gemm_pack_a,
    .gemm_pack_b = gemm_pack_b,
    .gemm_block = gemm_block,
    .linear_dot = linear_dot,
    .quant_columns = kQuantColumns,
    .quantize_rows = quantize_rows,
    .dequantize = dequantize,
    .quant_dot = quant_dot,
};

}  // namespace frugal::kernels::KERNEL_TARGET
