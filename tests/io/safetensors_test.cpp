// Goldens come from the reference library (tools/make_safetensors_golden.py); hostile files are built by
// hand.
#include "io/safetensors.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/json.h"
#include "memory_file.h"

namespace frugal {
namespace {

const fs::path kGolden = fs::path(FRUGAL_SOURCE_DIR) / "tests/golden/safetensors";

class Safetensors : public testing::Test {
 protected:
  Safetensors() {
    const auto* test = testing::UnitTest::GetInstance()->current_test_info();
    dir_ = fs::path(testing::TempDir()) / fmt::format("frugal_safetensors_{}_{}", test->name(), ::getpid());
    fs::remove_all(dir_);
    make_directories(dir_);
  }
  ~Safetensors() override { fs::remove_all(dir_); }

  fs::path raw(std::string_view header, size_t data_bytes, int64_t announced = -1) {
    const uint64_t size = announced < 0 ? header.size() : static_cast<uint64_t>(announced);
    std::string content(8, '\0');
    std::memcpy(content.data(), &size, 8);
    content += header;
    content.append(data_bytes, '\0');
    write_file_atomically(dir_ / "raw.safetensors", content);
    return dir_ / "raw.safetensors";
  }
  // Opens a hand-made file and expects an Error that names the file and says `reason`.
  void expect_refused(std::string_view header, size_t data_bytes, std::string_view reason,
                      int64_t announced = -1) {
    const fs::path path = raw(header, data_bytes, announced);
    try {
      SafetensorsFile file(path);
      FAIL() << "accepted: " << header;
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find(reason), std::string::npos) << error.what();
      EXPECT_NE(std::string(error.what()).find(path.string()), std::string::npos) << error.what();
    }
  }

  fs::path dir_;
};

template <class T>
std::vector<T> values(const SafetensorsEntry* entry) {
  std::vector<T> out(entry->data.size() / sizeof(T));
  std::memcpy(out.data(), entry->data.data(), out.size() * sizeof(T));
  return out;
}

template <class T>
std::span<const std::byte> bytes_of(const std::vector<T>& v) {
  return std::as_bytes(std::span<const T>(v));
}

TEST_F(Safetensors, ReadsWhatTheReferenceLibraryWrites) {
  const SafetensorsFile file(kGolden / "dtypes.safetensors");
  EXPECT_EQ(file.entries().size(), 9u);
  EXPECT_EQ(file.metadata().at("note"), "gr\xc3\xbcn");
  ASSERT_NE(file.find("f32"), nullptr);
  EXPECT_EQ(file.find("f32")->dtype, "F32");
  EXPECT_EQ(file.find("f32")->shape, (std::vector<int64_t>{2, 3}));
  EXPECT_EQ(values<float>(file.find("f32")), (std::vector<float>{0, 1, 2, 3, 4, 5}));
  EXPECT_EQ(file.find("bf16")->dtype, "BF16");
  EXPECT_EQ(values<uint16_t>(file.find("bf16")), (std::vector<uint16_t>{0, 0x3f80, 0x4000, 0x4040, 0x4080}));
  EXPECT_EQ(values<uint16_t>(file.find("f16")), (std::vector<uint16_t>{0, 0x3c00, 0x4000, 0x4200}));
  EXPECT_EQ(file.find("fp8")->dtype, "F8_E4M3");
  EXPECT_EQ(values<uint8_t>(file.find("fp8")), (std::vector<uint8_t>{0, 0x38, 0x40}));
  EXPECT_EQ(values<int64_t>(file.find("i64")), (std::vector<int64_t>{0, 1, 2, 3}));
  EXPECT_EQ(values<uint8_t>(file.find("flags")), (std::vector<uint8_t>{1, 0, 1}));
  EXPECT_TRUE(file.find("scalar")->shape.empty());
  EXPECT_EQ(values<float>(file.find("scalar")), std::vector<float>{7});
  EXPECT_EQ(file.find("empty")->shape, (std::vector<int64_t>{0, 4}));
  EXPECT_TRUE(file.find("empty")->data.empty());
  EXPECT_NE(file.find("odd \"name\"\n\xc3\xa9"), nullptr);
  EXPECT_EQ(file.find("absent"), nullptr);
}

TEST_F(Safetensors, EntriesOutliveTheFile) {
  auto file = std::make_unique<SafetensorsFile>(kGolden / "dtypes.safetensors");
  const SafetensorsEntry entry = *file->find("f32");
  file.reset();
  EXPECT_EQ(values<float>(&entry)[5], 5);
}

TEST_F(Safetensors, EveryTruncationIsAnError) {
  MemoryFile file;
  const std::string whole = read_file(kGolden / "dtypes.safetensors");
  for (size_t size = 0; size < whole.size(); ++size) {
    file.set(std::string_view(whole).substr(0, size));
    EXPECT_THROW(SafetensorsFile(file.path()), Error) << size;
  }
  EXPECT_THROW(SafetensorsFile(dir_ / "missing"), Error);
  EXPECT_THROW(SafetensorsFile{dir_}, Error);
}

TEST_F(Safetensors, EveryChangedHeaderByteIsReadOrRefusedInOrder) {
  MemoryFile bytes;
  std::string content = read_file(kGolden / "dtypes.safetensors");
  uint64_t header = 0;
  std::memcpy(&header, content.data(), 8);
  for (size_t at = 0; at < 8 + header; ++at) {
    for (const char c : {'\0', '"', '9', '-', '\xff'}) {
      std::string changed = content;
      changed[at] = c;
      bytes.set(changed);
      try {
        const SafetensorsFile file(bytes.path());
        for (const auto& entry : file.entries()) {
          EXPECT_LE(entry.data.data() + entry.data.size(),
                    entry.file->bytes().data() + entry.file->bytes().size());
        }
      } catch (const Error&) {
      }
    }
  }
}

TEST_F(Safetensors, HostileHeaders) {
  const std::string good = R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})";
  EXPECT_EQ(SafetensorsFile(raw(good, 8)).entries().size(), 1u);
  EXPECT_EQ(SafetensorsFile(raw(good + "   ", 8)).entries().size(), 1u);
  EXPECT_TRUE(SafetensorsFile(raw("{}", 0)).entries().empty());

  expect_refused(good, 8, "announces a header", int64_t{1} << 62);
  expect_refused(good, 8, "may be truncated", 1000);
  expect_refused(good, 8, "not valid JSON", 20);
  expect_refused("[1]", 0, "not a JSON object");
  expect_refused("{\"\xff\":1}", 0, "not valid JSON");
  expect_refused(good + std::string(1, '\0') + "x", 8, "NUL");
  expect_refused(good, 9, "1 bytes after the last tensor");
  expect_refused(good, 7, "lie outside");
  expect_refused(R"({"a":{"dtype":"F32","shape":[[[[2]]]],"data_offsets":[0,8]}})", 8, "nested deeper");
  expect_refused(R"({"a":7})", 0, "tensor 'a'");
  expect_refused(R"({"__metadata__":{"x":1}})", 0, "not a string");
  expect_refused(R"({"__metadata__":{"x":"1","x":"2"}})", 0, "'x' appears twice");
}

TEST_F(Safetensors, HostileTensors) {
  const auto tensor = [](std::string_view dtype, std::string_view shape, std::string_view offsets) {
    return fmt::format(R"({{"t":{{"dtype":{},"shape":{},"data_offsets":{}}}}})", dtype, shape, offsets);
  };
  EXPECT_EQ(SafetensorsFile(raw(tensor(R"("F4")", "[4]", "[0,2]"), 2)).entries().size(), 1u);
  expect_refused(tensor(R"("F31")", "[2]", "[0,8]"), 8, "unknown dtype 'F31'");
  expect_refused(tensor("32", "[2]", "[0,8]"), 8, "dtype is not a string");
  expect_refused(tensor(R"("F32")", "2", "[0,8]"), 8, "shape is not a list");
  expect_refused(tensor(R"("F32")", "[-2]", "[0,8]"), 8, "shape has -2");
  expect_refused(tensor(R"("F32")", "[2.0]", "[0,8]"), 8, "shape has 2.0");
  expect_refused(tensor(R"("F32")", "[18446744073709551615]", "[0,8]"), 8, "which is no size");
  expect_refused(tensor(R"("F32")", "[4294967296,4294967296,2]", "[0,0]"), 0, "no possible size");
  expect_refused(tensor(R"("F4")", "[3]", "[0,2]"), 2, "no possible size");
  expect_refused(tensor(R"("F32")", "[3]", "[0,8]"), 8, "needs 12 bytes");
  expect_refused(tensor(R"("F32")", "[2]", "[8,0]"), 8, "lie outside");
  expect_refused(tensor(R"("F32")", "[2]", "[-8,0]"), 8, "not a pair");
  expect_refused(tensor(R"("F32")", "[2]", "[0]"), 8, "not a pair");
  expect_refused(tensor(R"("F32")", "[2]", "[0,1e30]"), 8, "not a pair");
  expect_refused(R"({"t":{"dtype":"F32","data_offsets":[0,8]}})", 8, "'shape' is missing");
  expect_refused(R"({"t":{"dtype":"F32","shape":[2],"data_offsets":[0,8],"more":1}})", 8,
                 "unknown key 'more'");
  expect_refused(R"({"t":{"dtype":"F32","shape":[2],"shape":[2],"data_offsets":[0,8]}})", 8,
                 "'shape' appears twice");
}

TEST_F(Safetensors, OverlapsHolesAndDuplicates) {
  const auto pair = [](std::string_view a, std::string_view b, std::string_view second) {
    return fmt::format(R"({{"a":{{"dtype":"U8","shape":[4],"data_offsets":{}}},)"
                       R"("{}":{{"dtype":"U8","shape":[4],"data_offsets":{}}}}})",
                       a, second, b);
  };
  EXPECT_EQ(SafetensorsFile(raw(pair("[4,8]", "[0,4]", "b"), 8)).entries()[0].name, "b");
  expect_refused(pair("[0,4]", "[2,6]", "b"), 6, "they overlap");
  expect_refused(pair("[0,4]", "[0,4]", "b"), 4, "they overlap");
  expect_refused(pair("[0,4]", "[5,9]", "b"), 9, "there is a hole");
  expect_refused(pair("[1,5]", "[5,9]", "b"), 9, "there is a hole");
  expect_refused(pair("[0,4]", "[4,8]", "a"), 8, "'a' appears twice");
}

TEST_F(Safetensors, RoundTripAlignsAndStreams) {
  const std::vector<float> f = {1.5f, -2.0f, 3.25f, 0.0f, 5.0f, 6.0f};
  const std::vector<uint16_t> h = {1, 2, 3};
  const std::vector<int64_t> i = {-1};
  const fs::path path = dir_ / "out.safetensors";
  SafetensorsWriter writer(
      path,
      {{"h", "BF16", {3}}, {"none", "F32", {0, 7}}, {"a \"b\"\xc3\xa9", "F32", {2, 3}}, {"i", "I64", {}}});
  ASSERT_EQ(writer.order().size(), 4u);
  EXPECT_EQ(writer.order()[0].name, "i");
  EXPECT_EQ(writer.order()[3].name, "h");
  writer.write("i", bytes_of(i));
  writer.write("none", {});
  writer.write("a \"b\"\xc3\xa9", bytes_of(f).first(5));  // pieces of any size
  writer.write("a \"b\"\xc3\xa9", bytes_of(f).subspan(5));
  EXPECT_FALSE(fs::exists(path));
  writer.write("h", bytes_of(h));
  writer.commit();

  const SafetensorsFile file(path);
  EXPECT_EQ(file.metadata().at("format"), "pt");
  EXPECT_EQ(values<float>(file.find("a \"b\"\xc3\xa9")), f);
  EXPECT_EQ(values<uint16_t>(file.find("h")), h);
  EXPECT_EQ(values<int64_t>(file.find("i")), i);
  EXPECT_EQ(file.find("none")->shape, (std::vector<int64_t>{0, 7}));
  for (const auto& entry : file.entries()) {
    const auto offset = static_cast<size_t>(entry.data.data() - entry.file->bytes().data());
    EXPECT_EQ(offset % static_cast<size_t>(safetensors_dtype_bits(entry.dtype) / 8), 0u) << entry.name;
  }
  uint64_t header = 0;
  std::memcpy(&header, file.entries()[0].file->bytes().data(), 8);
  EXPECT_EQ(header % 8, 0u);
}

TEST_F(Safetensors, WriterRewritesTheGoldenFile) {  // same tensors, same order, same bytes of data
  const SafetensorsFile golden(kGolden / "dtypes.safetensors");
  std::vector<SafetensorsDeclaration> declared;
  for (const auto& e : golden.entries()) declared.push_back({e.name, e.dtype, e.shape});
  SafetensorsWriter writer(dir_ / "copy", declared, golden.metadata());
  for (const auto& e : writer.order()) writer.write(e.name, golden.find(e.name)->data);
  writer.commit();
  const SafetensorsFile copy(dir_ / "copy");
  EXPECT_EQ(copy.metadata(), golden.metadata());
  for (const auto& e : golden.entries()) {
    EXPECT_EQ(copy.find(e.name)->shape, e.shape);
    EXPECT_TRUE(std::ranges::equal(copy.find(e.name)->data, e.data)) << e.name;
  }
}

TEST_F(Safetensors, WriterRefusesMisuse) {
  const std::vector<float> two = {1, 2};
  const fs::path path = dir_ / "out.safetensors";
  {
    SafetensorsWriter writer(path, {{"a", "F32", {2}}, {"b", "F32", {2}}});
    EXPECT_THROW(writer.write("b", bytes_of(two)), std::logic_error);
    EXPECT_THROW(writer.commit(), std::logic_error);
    writer.write("a", bytes_of(two));
    writer.write("b", bytes_of(two).first(4));
    EXPECT_THROW(writer.commit(), std::logic_error);
    EXPECT_THROW(writer.write("b", bytes_of(two)), std::logic_error);
  }
  EXPECT_TRUE(fs::is_empty(dir_));  // nothing committed, nothing left
  EXPECT_THROW(SafetensorsWriter(path, {{"a", "F32", {2}}, {"a", "F32", {2}}}), Error);
  EXPECT_THROW(SafetensorsWriter(path, {{"__metadata__", "F32", {2}}}), Error);
  EXPECT_THROW(SafetensorsWriter(path, {{"a", "Q4_0", {2}}}), Error);
  EXPECT_THROW(SafetensorsWriter(path, {{"a", "F32", {-2}}}), Error);
  EXPECT_THROW(SafetensorsWriter(dir_ / "no" / "such", {}), Error);
}

TEST_F(Safetensors, DirectoryOfOneFileAndOfShards) {
  fs::copy_file(kGolden / "dtypes.safetensors", dir_ / "model.safetensors");
  EXPECT_EQ(SafetensorsDirectory(dir_).entries().size(), 9u);

  const SafetensorsDirectory sharded(kGolden / "sharded");
  ASSERT_EQ(sharded.entries().size(), 3u);
  EXPECT_EQ(values<float>(sharded.find("c")), (std::vector<float>{0, 1, 2, 3}));
  EXPECT_EQ(values<float>(sharded.find("a")), (std::vector<float>{0, 1, 2}));
  EXPECT_EQ(sharded.find("d"), nullptr);
}

TEST_F(Safetensors, BrokenDirectories) {
  EXPECT_THROW(SafetensorsDirectory(dir_ / "missing"), Error);
  EXPECT_THROW(SafetensorsDirectory{dir_}, Error);
  const fs::path golden = kGolden / "sharded", index = dir_ / "model.safetensors.index.json";
  for (const auto& file : fs::directory_iterator(golden)) fs::copy_file(file, dir_ / file.path().filename());

  const auto expect_refused_index = [&](const std::string& json, std::string_view reason) {
    write_file_atomically(index, json);
    try {
      SafetensorsDirectory directory(dir_);
      FAIL() << "accepted: " << json;
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find(reason), std::string::npos) << error.what();
    }
  };
  expect_refused_index(R"({"weight_map":{"a":"model-00003-of-00002.safetensors"}})", "is missing");
  expect_refused_index(R"({"weight_map":{"zz":"model-00001-of-00002.safetensors"}})",
                       "tensor 'zz' is not in");
  expect_refused_index(R"({"weight_map":{"a":"../model.safetensors"}})", "not a file name");
  expect_refused_index(R"({"weight_map":{"a":7}})", "not a string");
  expect_refused_index(R"({"weight_map":{"a":"x","a":"y"}})", "appears twice");
  expect_refused_index(R"({"weights":{}})", "expected a 'weight_map'");
  expect_refused_index("{", "not valid JSON");

  fs::copy_file(golden / "model.safetensors.index.json", index, fs::copy_options::overwrite_existing);
  EXPECT_EQ(SafetensorsDirectory(dir_).entries().size(), 3u);
  fs::remove(dir_ / "model-00002-of-00002.safetensors");
  EXPECT_THROW(SafetensorsDirectory{dir_}, Error);
}

}  // namespace
}  // namespace frugal
