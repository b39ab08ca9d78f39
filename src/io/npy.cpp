#include "io/npy.h"

#include <bit>
#include <string>

#include "core/error.h"

namespace frugal {

static_assert(std::endian::native == std::endian::little, "the format is written as it lies in memory");

NpyWriter::NpyWriter(const fs::path& path, std::vector<int64_t> shape) : file_(path), missing_(1) {
  std::string dimensions;
  for (const int64_t dim : shape) {
    CHECK(dim >= 0);
    missing_ *= dim;
    dimensions += fmt::format("{}, ", dim);
  }
  if (shape.size() > 1) dimensions.resize(dimensions.size() - 2);  // Python writes (2, 3) but (2,)
  if (shape.size() == 1) dimensions.pop_back();
  std::string header = fmt::format("{{'descr': '<f4', 'fortran_order': False, 'shape': ({}), }}", dimensions);
  constexpr size_t kPreamble = 10, kAlignment = 64;  // magic, version, length; the data starts aligned
  while ((kPreamble + header.size() + 1) % kAlignment != 0) header += ' ';
  header += '\n';
  const auto length = static_cast<uint16_t>(header.size());
  file_.write(std::string_view("\x93NUMPY\x01\x00", 8));
  file_.write(&length, 2);
  file_.write(header);
}

void NpyWriter::write(std::span<const float> values) {
  missing_ -= static_cast<int64_t>(values.size());
  CHECK(missing_ >= 0, "more values than the shape has");
  file_.write(values.data(), values.size_bytes());
}

void NpyWriter::commit() {
  CHECK(missing_ == 0, "{} values were never written", missing_);
  file_.commit();
}

}  // namespace frugal
