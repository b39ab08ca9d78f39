// model.safetensors as transformers expects it: a tensor a parameter, or stacks of experts; FP8 with its
// factors beside it, as DeepSeek-V3's.
#include <algorithm>
#include <nlohmann/json.hpp>
#include <unordered_map>

#include "core/error.h"
#include "io/hf_weights.h"
#include "models/gguf_names.h"
#include "models/hf_stack.h"
#include "tensor/block_scales.h"

namespace frugal {
namespace {

constexpr int64_t kFp8Block = 128;

// One tensor of the file: a parameter, or for each expert the parameters that share its slice.
struct Output {
  Shape shape;
  const Format* format = nullptr;
  struct Source {
    const HfTensor* parameter;
    const HfStack* stack;  // null: the whole tensor
  };
  std::vector<std::vector<Source>> slices;
  bool factors = false;  // of the FP8 tensor's blocks, not the tensor
};

const HfStack* find_stack(std::span<const HfStack> stacks, const std::string& pattern) {
  for (const HfStack& stack : stacks) {
    if (stack.parameter == pattern) return &stack;
  }
  return nullptr;
}

// (out, in) and (out) of an expert -> (in, columns) and (columns) of its slice.
Shape slice_shape(const HfTensor& p, const HfStack& stack) {
  const Shape& own = p.value->shape();
  const int64_t columns = own[0] * stack.step;
  return own.size() == 1 ? Shape{columns} : Shape{own[1], columns};
}

std::unordered_map<std::string, Output> outputs_of(std::span<const HfTensor> all,
                                                   std::span<const HfStack> stacks) {
  std::unordered_map<std::string, Output> outputs;
  for (const HfTensor& p : all) {
    const NumberedName key = numbered(p.name);
    const HfStack* stack = find_stack(stacks, key.pattern);
    Output& out = outputs[stack == nullptr ? p.name : with_layer(stack->tensor, key.numbers.at(0))];
    out.format = p.format;
    if (p.format == &formats::f8_e4m3) {
      CHECK(stack == nullptr, "{}: FP8 in a stack", p.name);
      outputs[p.name + "_scale_inv"] = {
          factor_shape(p.value->shape(), kFp8Block, kFp8Block), &formats::f32, {{{&p, nullptr}}}, true};
    }
    const auto expert = stack == nullptr ? size_t{0} : static_cast<size_t>(key.numbers.at(1));
    out.slices.resize(std::max(out.slices.size(), expert + 1));
    out.slices[expert].push_back({&p, stack});
    out.shape = stack == nullptr ? p.value->shape() : slice_shape(p, *stack);
    if (stack != nullptr) out.shape.insert(out.shape.begin(), std::ssize(out.slices));
  }
  return outputs;
}

class Encoder {
 public:
  Encoder(SafetensorsWriter& writer, const std::string& name, const Format& format)
      : writer_(writer), name_(name), format_(format) {}
  void write(std::span<const float> values) {
    encoded_.resize(static_cast<size_t>(format_.bytes(std::ssize(values))));
    format_.encode(values.data(), encoded_.data(), std::ssize(values));
    writer_.write(name_, encoded_);
  }

 private:
  SafetensorsWriter& writer_;
  const std::string& name_;
  const Format& format_;
  std::vector<std::byte> encoded_;
};

void write_whole(const HfTensor& p, Encoder& encoder) {
  constexpr int64_t kPiece = 1 << 18;
  const int64_t cols = p.value->cols(), rows = std::max<int64_t>(1, kPiece / cols);
  std::vector<float> values;
  for (int64_t row = 0; row < p.value->rows(); row += rows) {
    const int64_t end = std::min(row + rows, p.value->rows());
    values.resize(static_cast<size_t>((end - row) * cols));
    p.value->decode_rows(row, end, values.data());  // with the factors of blocks, where there are any
    encoder.write(values);
  }
}

// Codes or factors of a matrix, band of blocks by band. Those that are FP8 already stay, bit for bit.
void write_fp8(const HfTensor& p, bool factors, SafetensorsWriter& writer, const std::string& name) {
  const Tensor& value = *p.value;
  const BlockScales* known = value.scales();
  if (&value.format() == &formats::f8_e4m3 && known != nullptr && known->rows == kFp8Block &&
      known->cols == kFp8Block) {
    const std::vector<float> decoded = factors ? known->factors.decoded() : std::vector<float>();
    return writer.write(name, factors ? std::as_bytes(std::span(decoded))
                                      : std::span(value.data(), static_cast<size_t>(value.bytes())));
  }
  const int64_t rows = value.rows(), cols = value.cols();
  std::vector<float> band(static_cast<size_t>(kFp8Block * cols)),
      band_factors(static_cast<size_t>((cols + kFp8Block - 1) / kFp8Block));
  std::vector<std::byte> codes(factors ? 0 : band.size());
  for (int64_t row = 0; row < rows; row += kFp8Block) {
    const int64_t count = std::min(kFp8Block, rows - row);
    value.decode_rows(row, row + count, band.data());
    fp8_band(band.data(), count, cols, kFp8Block, band_factors.data(), factors ? nullptr : codes.data());
    writer.write(name, factors ? std::as_bytes(std::span(band_factors))
                               : std::span<const std::byte>(codes.data(), static_cast<size_t>(count * cols)));
  }
}

void write_slice(std::span<const Output::Source> sources, int64_t values, Encoder& encoder) {
  std::vector<float> slice(static_cast<size_t>(values));
  int64_t filled = 0;
  for (const auto& [p, stack] : sources) {
    const std::vector<float> own = p->value->decoded();
    const int64_t out = p->value->dim(0), in = p->value->size() / out, columns = out * stack->step;
    CHECK(in * columns == values, "{} does not fit its stack", p->name);
    filled += in * out;
    for (int64_t o = 0; o < out; ++o) {
      for (int64_t i = 0; i < in; ++i) {
        slice[static_cast<size_t>(i * columns + stack->first + o * stack->step)] =
            own[static_cast<size_t>(o * in + i)];
      }
    }
  }
  CHECK(filled == values, "a stack lacks some of its parts");
  encoder.write(slice);
}

}  // namespace

Json fp8_config(std::span<const HfTensor> parameters) {
  Json others = Json::array();
  constexpr std::string_view kWeight = ".weight";
  for (const HfTensor& p : parameters) {
    if (p.format == &formats::f8_e4m3 || p.value->shape().size() != 2 || !p.name.ends_with(kWeight)) continue;
    others.push_back(p.name.substr(0, p.name.size() - kWeight.size()));
  }
  return {{"activation_scheme", "dynamic"},
          {"fmt", "e4m3"},
          {"quant_method", "fp8"},
          {"weight_block_size", {kFp8Block, kFp8Block}},
          {"modules_to_not_convert", others}};
}

void write_hf_weights(const fs::path& path, std::span<const HfTensor> parameters, const Json& config) {
  const Architecture* architecture = find_architecture(config);
  CHECK(architecture != nullptr, "a model of no known architecture");
  const std::unordered_map<std::string, Output> outputs = outputs_of(parameters, architecture->stacks);
  std::vector<SafetensorsDeclaration> declarations;
  for (const auto& [name, out] : outputs) {
    declarations.push_back({name, std::string(out.format->safetensors), out.shape});
  }
  SafetensorsWriter writer(path, std::move(declarations));
  for (const SafetensorsDeclaration& declaration : writer.order()) {
    const Output& out = outputs.at(declaration.name);
    Encoder encoder(writer, declaration.name, *out.format);
    for (const auto& sources : out.slices) {
      for (const auto& source : sources) {
        CHECK(source.parameter->value->allocated(), "{} has no values", source.parameter->name);
      }
      if (out.factors || out.format == &formats::f8_e4m3) {
        write_fp8(*sources.front().parameter, out.factors, writer, declaration.name);
      } else if (sources.front().stack == nullptr) {
        write_whole(*sources.front().parameter, encoder);
      } else {
        write_slice(sources, count(out.shape) / out.shape.front(), encoder);
      }
    }
  }
  writer.commit();
}

}  // namespace frugal
