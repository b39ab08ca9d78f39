// The weights of a directory in Hugging Face layout against a model's parameters: which tensor is which, does
// everything fit, and handing them over, mapped where their layout allows. Besides tensors as they are:
// FP8 E4M3 with factors for blocks (`NAME_scale_inv`, DeepSeek-V3), stacks of experts and MXFP4
// (models/hf_stack.h).
#pragma once

#include "io/model_files.h"
#include "io/parameters.h"
#include "io/safetensors.h"

namespace frugal {

struct HfStack;

class HfWeights {
 public:
  // `config`: for model_type and quantization_config. Error on a quantisation that is not supported.
  HfWeights(const SafetensorsDirectory& files, const Json& config);

  // Replaces the parameters. Error listing what is missing, unexpected or misshapen.
  void load(Context& ctx, Model& model, Weights weights) const;
  // Copies a parameter that is part of a stack into `to`, of its shape and format; false when it is a tensor
  // of its own. Error when the files lack it or it differs.
  bool copy_slice(const std::string& parameter, Tensor& to) const;
  bool holds(const std::string& parameter) const { return place_of(parameter).entry != nullptr; }

 private:
  struct Place {
    std::string name;  // of the tensor in the files
    const SafetensorsEntry* entry = nullptr;
    const SafetensorsEntry* factors = nullptr;  // of the blocks of FP8 or MXFP4
    const HfStack* stack = nullptr;             // null: the tensor is the parameter
    int64_t expert = 0;
  };
  Place place_of(const std::string& parameter) const;
  void check(const ParameterList& wanted, std::span<const Place> places) const;
  void compare(const Place& place, const ParameterList::Parameter& parameter, int64_t experts,
               Complaints& complaints) const;
  Tensor take(Context& ctx, const Place& place, const ParameterList::Parameter& parameter,
              Weights weights) const;
  Tensor slice(Context& ctx, const Place& place, const Shape& shape) const;
  void copy_rows(const Place& place, int64_t begin, int64_t end, Tensor& to) const;
  Tensor factors(Context& ctx, const SafetensorsEntry& entry) const;
  const Format& format_of(const SafetensorsEntry& entry) const;

  const SafetensorsDirectory& files_;
  std::span<const HfStack> stacks_;
  bool fp8_ = false;
  int64_t block_rows_ = 128, block_cols_ = 128;
};

// A parameter to be written, and the format it gets in the file.
struct HfTensor {
  std::string name;
  const Tensor* value;
  const Format* format;
};
// The quantization_config of a config.json whose weights are those: FP8 where they say so.
Json fp8_config(std::span<const HfTensor> parameters);
// model.safetensors, with the stacks that the architecture of `config` has in Hugging Face's layout.
void write_hf_weights(const fs::path& path, std::span<const HfTensor> parameters, const Json& config);

}  // namespace frugal
