#include "io/npy.h"

#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>

#include "core/error.h"

namespace frugal {
namespace {

class Npy : public testing::Test {
 protected:
  fs::path path_ = fs::temp_directory_path() / fmt::format("frugal_npy_{}", ::getpid());
  void TearDown() override { fs::remove(path_); }
};

TEST_F(Npy, HeaderIsNumpysAndDataFollowsAligned) {
  NpyWriter writer(path_, {2, 3});
  const std::vector<float> values{0, 1, 2, 3, 4, 5.5f};
  writer.write(std::span(values).first(2));
  writer.write(std::span(values).subspan(2));
  EXPECT_FALSE(fs::exists(path_));
  writer.commit();
  const std::string file = read_file(path_);
  ASSERT_EQ(file.substr(0, 8), std::string("\x93NUMPY\x01\x00", 8));
  uint16_t length = 0;
  std::memcpy(&length, &file[8], 2);
  EXPECT_EQ((10 + length) % 64, 0);
  const std::string header = file.substr(10, length);
  EXPECT_EQ(header.substr(0, header.find('}') + 1),
            "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }");
  EXPECT_EQ(header.back(), '\n');
  ASSERT_EQ(file.size(), 10 + length + values.size() * 4);
  EXPECT_EQ(std::memcmp(&file[10 + length], values.data(), values.size() * 4), 0);
}

TEST_F(Npy, ShapesOfOneAndNoDimensionsArePythonTuples) {
  NpyWriter one(path_, {0});
  one.commit();
  EXPECT_NE(read_file(path_).find("'shape': (0,), }"), std::string::npos);
  NpyWriter scalar(path_, {});
  const float x = 1;
  scalar.write({&x, 1});
  scalar.commit();
  EXPECT_NE(read_file(path_).find("'shape': (), }"), std::string::npos);
}

TEST_F(Npy, WrongAmountsAreRefused) {
  const float x = 1;
  NpyWriter writer(path_, {2});
  writer.write({&x, 1});
  EXPECT_THROW(writer.commit(), std::logic_error);
  EXPECT_FALSE(fs::exists(path_));
  NpyWriter full(path_, {0});
  EXPECT_THROW(full.write({&x, 1}), std::logic_error);
}

TEST_F(Npy, UnwritablePlacesAreErrors) {
  EXPECT_THROW(NpyWriter("/nowhere/at/all.npy", {1}), Error);
}

}  // namespace
}  // namespace frugal
