// Three ways to multiply with a weight as it lies in memory: int8 activations, or two int8 for each (block
// formats, Compute::fast); f32 or bf16 weights with f32 activations (with Compute::fast, of bf16 weights and
// on machines that multiply bf16 in pairs: activations rounded to bf16); f32 activations with rows that are
// decoded just before they are used. Every way's order of sums depends on the inner size and the format
// alone.
#include "autograd/ops/multiply_streaming.h"

#include <algorithm>

#include "kernels/linear.h"
#include "kernels/quant_linear.h"

namespace frugal::ops {
namespace {

bool takes_int8(const Context& ctx, const Tensor& weight) {
  return ctx.compute == Compute::fast && weight.format().blocks != kernels::Blocks::none && !weight.scales();
}

int64_t outs_of(const Product& p) {
  return p.outs == 0 ? p.weight->dim(0) : p.outs;
}
int64_t x_row_of(const Product& p) {
  return p.x_row == 0 ? p.weight->cols() : p.x_row;
}
int64_t y_row_of(const Product& p) {
  return p.y_row == 0 ? outs_of(p) : p.y_row;
}
const std::byte* first_row(const Product& p) {
  return p.weight->data() + p.weight->format().bytes(p.first * p.weight->cols());
}

// Eight bits of the input cost more than the weight's own rounding only where its values have as many.
bool wants_wide_input(const Product& p) {
  const Format& format = p.weight->format();
  const bool weight_of_8_bits = format.block_bytes >= format.block;
  return p.sensitivity == Sensitivity::high || (p.sensitivity == Sensitivity::medium && weight_of_8_bits);
}

// Activations of several products, each rounded to int8 once.
class RoundedInputs {
 public:
  RoundedInputs(const Context& ctx, std::span<const Product> products) {
    std::vector<kernels::QuantizeRows> requests;
    for (const Product& p : products) {
      const kernels::PanelForm form{.halves = kernels::needs_halves(p.weight->format().blocks),
                                    .wide = wants_wide_input(p)};
      const auto same = std::ranges::find_if(requests, [&](const kernels::QuantizeRows& r) {
        return r.x == p.x && r.rows == p.rows && r.in == p.weight->cols() && r.x_row == x_row_of(p) &&
               r.form.wide == form.wide;
      });
      of_product_.push_back(static_cast<size_t>(same - requests.begin()));
      if (same != requests.end()) {
        same->form.halves |= form.halves;
      } else {
        requests.push_back(
            {.rows = p.rows, .in = p.weight->cols(), .x = p.x, .x_row = x_row_of(p), .form = form});
      }
    }
    int64_t bytes = 0;
    for (const auto& r : requests) bytes += kernels::quantized_bytes(ctx.kernels, r);
    memory_ = ctx.memory->allocate(static_cast<size_t>(bytes));
    rows_ = kernels::quantize(ctx.pool, ctx.kernels, requests, memory_.get());
  }
  const kernels::QuantizedRows& of(size_t product) const { return rows_[of_product_[product]]; }

 private:
  std::vector<size_t> of_product_;
  std::shared_ptr<std::byte> memory_;
  std::vector<kernels::QuantizedRows> rows_;
};

void multiply_int8(const Context& ctx, std::span<const Product> products) {
  const RoundedInputs inputs(ctx, products);
  std::vector<kernels::QuantLinear> problems;
  for (size_t i = 0; i < products.size(); ++i) {
    const Product& p = products[i];
    problems.push_back({.format = p.weight->format().blocks,
                        .w = first_row(p),
                        .w_row = p.weight->format().bytes(p.weight->cols()),
                        .out = outs_of(p),
                        .x = &inputs.of(i),
                        .y = p.y,
                        .y_row = y_row_of(p)});
  }
  kernels::quant_linear(ctx.pool, ctx.kernels, problems);
}

kernels::LinearProblem f32_problem(const Product& p) {
  const int64_t in = p.weight->cols();
  return {.rows = p.rows,
          .in = in,
          .out = outs_of(p),
          .x = p.x,
          .x_row = x_row_of(p),
          .w_row = in,
          .y = p.y,
          .y_row = y_row_of(p)};
}

void multiply_stored(const Context& ctx, std::span<const Product> products) {
  std::vector<kernels::LinearProblem> problems;
  for (const Product& p : products) {
    problems.push_back(f32_problem(p));
    problems.back().w = first_row(p);
    problems.back().w_type = p.weight->is_f32() ? kernels::Element::f32 : kernels::Element::bf16;
    if (ctx.compute == Compute::fast) problems.back().precision = kernels::Precision::bf16;
  }
  kernels::linear(ctx.pool, ctx.kernels, problems);
}

void multiply_decoding(const Context& ctx, std::span<const Product> products) {
  std::vector<kernels::LinearProblem> problems;
  for (const Product& p : products) problems.push_back(f32_problem(p));
  kernels::linear_decoding(ctx.pool, ctx.kernels, problems,
                           [&](size_t problem, int64_t begin, int64_t end, float* to) {
                             const Product& p = products[problem];
                             decode_rows(ctx, *p.weight, p.first + begin, p.first + end, to);
                           });
}

}  // namespace

bool is_read_as_stored(const Tensor& weight) {
  return weight.is_f32() || &weight.format() == &formats::bf16;
}

void multiply_streaming(const Context& ctx, std::span<const Product> products) {
  std::vector<Product> int8, stored, others;
  for (const Product& p : products) {
    auto& list = takes_int8(ctx, *p.weight) ? int8 : is_read_as_stored(*p.weight) ? stored : others;
    list.push_back(p);
  }
  if (!int8.empty()) multiply_int8(ctx, int8);
  if (!stored.empty()) multiply_stored(ctx, stored);
  if (!others.empty()) multiply_decoding(ctx, others);
}

}  // namespace frugal::ops
