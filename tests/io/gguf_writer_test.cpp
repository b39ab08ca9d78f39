// What is written must be what the reference library writes, byte for byte, and come back.
#include "io/gguf_writer.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include "core/error.h"

namespace frugal {
namespace {

const fs::path kGolden = fs::path(FRUGAL_SOURCE_DIR) / "tests/golden/gguf/all.gguf";

class GgufWriting : public testing::Test {
 protected:
  GgufWriting() {
    const auto* test = testing::UnitTest::GetInstance()->current_test_info();
    dir_ = fs::path(testing::TempDir()) / fmt::format("frugal_gguf_{}_{}", test->name(), ::getpid());
    fs::remove_all(dir_);
    make_directories(dir_);
  }
  ~GgufWriting() override { fs::remove_all(dir_); }
  fs::path dir_;
};

void write_golden_tensors(const GgufFile& golden, const fs::path& to, const GgufMetadata& metadata) {
  std::vector<GgufDeclaration> declared;
  for (const GgufEntry& e : golden.entries()) declared.push_back({e.name, e.format, e.shape});
  GgufWriter writer(to, metadata, declared);
  for (const GgufEntry& e : golden.entries()) {
    writer.write(e.name, e.data.first(e.data.size() / 3));  // pieces of any size
    writer.write(e.name, e.data.subspan(e.data.size() / 3));
  }
  EXPECT_FALSE(fs::exists(to));
  writer.commit();
}

TEST_F(GgufWriting, WritesTheGoldenFileByteForByte) {
  GgufMetadata m;
  m.add("general.architecture", "llama");
  m.add("t.u8", uint8_t{200});
  m.add("t.i8", int8_t{-100});
  m.add("t.u16", uint16_t{60000});
  m.add("t.i16", int16_t{-30000});
  m.add("t.u32", 4000000000u);
  m.add("t.i32", -2000000000);
  m.add("t.u64", uint64_t{1} << 40);
  m.add("t.i64", -(int64_t{1} << 40));
  m.add("t.f32", 0.25f);
  m.add("t.f64", 1e100);
  m.add("t.yes", true);
  m.add("t.no", false);
  m.add("t.text", "gr\xc3\xbcn \xf0\x9f\x98\x80");
  m.add("t.empty", std::string());
  m.add("l.u8", std::vector<uint8_t>{1, 2, 255});
  m.add("l.u32", std::vector<uint32_t>{1, 4000000000u});
  m.add("l.i32", std::vector<int32_t>{-1, 0, 7});
  m.add("l.f32", std::vector<float>{0.5, -1.5});
  m.add("l.text", std::vector<std::string>{"", "a", "\xc3\xa9\n"});
  const GgufFile golden(kGolden);
  write_golden_tensors(golden, dir_ / "out.gguf", m);
  EXPECT_EQ(read_file(dir_ / "out.gguf"), read_file(kGolden));

  GgufMetadata copied;
  for (const GgufField& field : golden.metadata()) copied.copy(field);
  write_golden_tensors(golden, dir_ / "copy.gguf", copied);
  EXPECT_EQ(read_file(dir_ / "copy.gguf"), read_file(kGolden));
}

TEST_F(GgufWriting, EveryFormatComesBack) {
  std::vector<GgufDeclaration> declared;
  for (const Format* format : all_formats()) {
    if (format->ggml >= 0) declared.push_back({fmt::format("t.{}", format->name), format, {3, 512}});
  }
  const fs::path path = dir_ / "formats.gguf";
  GgufWriter writer(path, {}, declared);
  std::vector<std::vector<std::byte>> contents;
  for (const GgufDeclaration& d : writer.order()) {
    std::vector<std::byte> data(static_cast<size_t>(d.format->bytes(3 * 512)));
    for (size_t i = 0; i < data.size(); ++i) data[i] = static_cast<std::byte>(i * 31);
    writer.write(d.name, data);
    contents.push_back(std::move(data));
  }
  writer.commit();
  const GgufFile file(path);
  for (size_t i = 0; i < declared.size(); ++i) {
    const GgufEntry* entry = file.find(declared[i].name);
    ASSERT_NE(entry, nullptr);
    EXPECT_EQ(entry->format, declared[i].format);
    EXPECT_EQ(entry->shape, declared[i].shape);
    EXPECT_TRUE(std::ranges::equal(entry->data, contents[i])) << declared[i].name;
    EXPECT_EQ(reinterpret_cast<uintptr_t>(entry->data.data()) % 32, 0u);
  }
}

TEST_F(GgufWriting, MetadataRefusesMisuse) {
  GgufMetadata m;
  m.add("k", 1u);
  EXPECT_THROW(m.add("k", 2u), Error);
  EXPECT_THROW(m.add("", 2u), Error);
  EXPECT_THROW(m.add("\xff", 2u), Error);
  EXPECT_THROW(m.add("t", "\xff"), Error);
  EXPECT_THROW(m.add("l", std::vector<std::string>{"ok", "\xff"}), Error);
  EXPECT_EQ(m.count(), 1u);
}

TEST_F(GgufWriting, WriterRefusesMisuse) {
  const fs::path path = dir_ / "out.gguf";
  const std::vector<std::byte> eight(8);
  {
    GgufWriter writer(path, {}, {{"a", &formats::f32, {2}}, {"b", &formats::f32, {2}}});
    EXPECT_THROW(writer.write("b", eight), std::logic_error);
    EXPECT_THROW(writer.commit(), std::logic_error);
    writer.write("a", eight);
    writer.write("b", std::span(eight).first(4));
    EXPECT_THROW(writer.commit(), std::logic_error);
    EXPECT_THROW(writer.write("b", eight), std::logic_error);
  }
  EXPECT_TRUE(fs::is_empty(dir_));  // nothing committed, nothing left
  const auto refused = [&](const GgufDeclaration& d) {
    EXPECT_THROW(GgufWriter(path, {}, {d}), Error) << d.name;
  };
  refused({"", &formats::f32, {2}});
  refused({std::string(64, 'n'), &formats::f32, {2}});
  refused({"scalar", &formats::f32, {}});
  refused({"deep", &formats::f32, {1, 1, 1, 1, 1}});
  refused({"zero", &formats::f32, {2, 0}});
  refused({"huge", &formats::f32, {INT64_MAX, 2}});
  refused({"ragged", &formats::q4_k, {2, 128}});
  refused({"fp8", &formats::f8_e4m3, {2}});
  const GgufDeclaration a{"a", &formats::f32, {2}};
  EXPECT_THROW(GgufWriter(path, {}, {a, a}), Error);
  EXPECT_THROW(GgufWriter(dir_ / "no" / "such", {}, {}), Error);
}

}  // namespace
}  // namespace frugal
