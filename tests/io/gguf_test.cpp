// The golden file comes from the reference library (tools/make_gguf_golden.py); hostile files are built here.
#include "io/gguf.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <functional>

#include "core/error.h"
#include "memory_file.h"

namespace frugal {
namespace {

const fs::path kGolden = fs::path(FRUGAL_SOURCE_DIR) / "tests/golden/gguf/all.gguf";

// Bytes of a GGUF file, as wrong as one likes.
struct Bytes {
  std::string s;
  template <class T>
  Bytes& put(T value) {
    s.append(reinterpret_cast<const char*>(&value), sizeof(T));
    return *this;
  }
  Bytes& str(std::string_view text) { return put(uint64_t{text.size()}).raw(text); }
  Bytes& raw(std::string_view text) {
    s += text;
    return *this;
  }
  Bytes& header(uint64_t tensors, uint64_t fields, uint32_t version = 3) {
    return raw("GGUF").put(version).put(tensors).put(fields);
  }
  Bytes& field(std::string_view key, GgufType type) { return str(key).put(static_cast<uint32_t>(type)); }
  Bytes& tensor(std::string_view name, const std::vector<uint64_t>& dims, uint32_t type, uint64_t offset) {
    str(name).put(static_cast<uint32_t>(dims.size()));
    for (const uint64_t d : dims) put(d);
    return put(type).put(offset);
  }
  Bytes& data(size_t bytes, size_t alignment = 32) {
    s.resize((s.size() + alignment - 1) / alignment * alignment + bytes);
    return *this;
  }
};

class Gguf : public testing::Test {
 protected:
  GgufFile open(const Bytes& bytes) {
    raw_.set(bytes.s);
    return GgufFile(raw_.path());
  }
  void expect_refused(const Bytes& bytes, std::string_view reason) {
    expect_error([&] { open(bytes); }, reason, raw_.path());
  }
  // An Error that names the file and says `reason`.
  void expect_error(const std::function<void()>& action, std::string_view reason, const fs::path& path) {
    try {
      action();
      FAIL() << "accepted; expected: " << reason;
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find(reason), std::string::npos) << error.what();
      EXPECT_NE(std::string(error.what()).find(path.string()), std::string::npos) << error.what();
    }
  }

  MemoryFile raw_;
};

TEST_F(Gguf, ReadsWhatTheReferenceLibraryWrites) {
  const GgufFile file(kGolden);
  EXPECT_EQ(file.text("general.architecture"), "llama");
  EXPECT_EQ(file.integer("t.u8"), 200);
  EXPECT_EQ(file.integer("t.i8"), -100);
  EXPECT_EQ(file.integer("t.u16"), 60000);
  EXPECT_EQ(file.integer("t.i16"), -30000);
  EXPECT_EQ(file.integer("t.u32"), 4000000000);
  EXPECT_EQ(file.integer("t.i32"), -2000000000);
  EXPECT_EQ(file.integer("t.u64"), int64_t{1} << 40);
  EXPECT_EQ(file.integer("t.i64"), -(int64_t{1} << 40));
  EXPECT_EQ(file.number("t.f32"), 0.25);
  EXPECT_EQ(file.number("t.f64"), 1e100);
  EXPECT_EQ(file.number("t.u8"), 200.0);
  EXPECT_TRUE(file.boolean("t.yes"));
  EXPECT_FALSE(file.boolean("t.no"));
  EXPECT_EQ(file.text("t.text"), "gr\xc3\xbcn \xf0\x9f\x98\x80");
  EXPECT_EQ(file.text("t.empty"), "");
  EXPECT_EQ(file.integers("l.u8"), (std::vector<int64_t>{1, 2, 255}));
  EXPECT_EQ(file.integers("l.i32"), (std::vector<int64_t>{-1, 0, 7}));
  EXPECT_EQ(file.numbers("l.f32"), (std::vector<float>{0.5, -1.5}));
  EXPECT_EQ(file.numbers("l.u8"), (std::vector<float>{1, 2, 255}));
  EXPECT_EQ(file.texts("l.text"), (std::vector<std::string_view>{"", "a", "\xc3\xa9\n"}));
  EXPECT_EQ(file.metadata().size(), 20u);

  ASSERT_EQ(file.entries().size(), 5u);
  EXPECT_EQ(file.find("absent"), nullptr);
  EXPECT_EQ(file.find("one")->shape, std::vector<int64_t>{3});
  EXPECT_EQ(file.find("cube")->shape, (std::vector<int64_t>{2, 3, 64}));
  EXPECT_EQ(file.find("half")->format, &formats::f16);
  EXPECT_EQ(file.find("q4")->format, &formats::q4_1);
  const GgufEntry* q8 = file.find("q8");
  ASSERT_EQ(q8->format, &formats::q8_0);
  std::vector<float> values(3 * 64);
  ASSERT_EQ(static_cast<int64_t>(q8->data.size()), q8->format->bytes(3 * 64));
  q8->format->decode(q8->data.data(), values.data(), 3 * 64);
  for (size_t i = 0; i < values.size(); ++i) EXPECT_NEAR(values[i], 192 + static_cast<float>(i), 2);
}

TEST_F(Gguf, GettersSayWhatIsWrong) {
  const GgufFile file(kGolden);
  const auto wrong = [&](const std::function<void()>& action, std::string_view reason) {
    expect_error(action, reason, kGolden);
  };
  wrong([&] { file.integer("t.absent"); }, "metadata 't.absent' is missing; expected an integer");
  wrong([&] { file.integer("t.text"); }, "'t.text' is a string, expected an integer");
  wrong([&] { file.integer("t.f32"); }, "'t.f32' is a f32, expected an integer");
  wrong([&] { file.integer("t.yes"); }, "'t.yes' is a bool, expected an integer");
  wrong([&] { file.integer("l.i32"); }, "'l.i32' is a list of 3 i32, expected an integer");
  wrong([&] { file.integer("t.u8", 1, 128); }, "'t.u8' is 200, expected 1 to 128");
  wrong([&] { file.text("t.u8"); }, "expected a string");
  wrong([&] { file.boolean("t.u8"); }, "expected a bool");
  wrong([&] { file.number("t.yes"); }, "expected a number");
  wrong([&] { file.integers("t.u8"); }, "expected a list of integers");
  wrong([&] { file.numbers("l.text"); }, "expected a list of numbers");
  wrong([&] { file.texts("l.u8"); }, "expected a list of strings");
  Bytes odd;
  odd.header(0, 2)
      .field("nan", GgufType::f32)
      .put(std::nanf(""))
      .field("big", GgufType::u64)
      .put(~uint64_t{0});
  const GgufFile file2 = open(odd);
  expect_error([&] { file2.number("nan"); }, "not a finite number", raw_.path());
  expect_error([&] { file2.integer("big"); }, "too large", raw_.path());
}

TEST_F(Gguf, EntriesOutliveTheFile) {
  auto file = std::make_unique<GgufFile>(kGolden);
  const GgufEntry entry = *file->find("one");
  file.reset();
  float last;
  std::memcpy(&last, entry.data.data() + 8, 4);
  EXPECT_EQ(last, 3);
}

TEST_F(Gguf, EveryTruncationIsAnError) {
  const std::string whole = read_file(kGolden);
  // The last tensor ends before the file's last padding.
  const GgufFile golden(kGolden);
  const size_t needed =
      static_cast<size_t>(golden.entries().back().data.data() - golden.find("one")->data.data()) +
      golden.entries().back().data.size();
  const size_t start = whole.size() - (needed + 31) / 32 * 32;
  for (size_t size = 0; size < start + needed; ++size) {
    raw_.set(std::string_view(whole).substr(0, size));
    EXPECT_THROW(GgufFile(raw_.path()), Error) << size;
  }
  raw_.set(std::string_view(whole).substr(0, start + needed));
  EXPECT_EQ(GgufFile(raw_.path()).entries().size(), 5u);
  EXPECT_THROW(GgufFile("/nowhere/missing.gguf"), Error);
  EXPECT_THROW(GgufFile{fs::path("/")}, Error);
}

TEST_F(Gguf, EveryChangedByteIsReadOrRefusedInOrder) {
  const std::string whole = read_file(kGolden);
  for (size_t at = 0; at < 1600; ++at) {
    for (const char c : {'\0', '\1', '\x7f', '\xff'}) {
      std::string changed = whole;
      changed[at] = c;
      raw_.set(changed);
      try {
        const GgufFile file(raw_.path());
        for (const GgufEntry& e : file.entries()) {
          ASSERT_LE(e.data.data() + e.data.size(), e.file->bytes().data() + e.file->bytes().size());
        }
        for (const GgufField& field : file.metadata()) {
          if (field.list && field.type == GgufType::string) file.texts(field.key);
          if (!field.list && field.type == GgufType::string) file.text(field.key);
        }
      } catch (const Error&) {
      }
    }
  }
}

TEST_F(Gguf, HostileHeaders) {
  EXPECT_TRUE(open(Bytes().header(0, 0)).entries().empty());
  EXPECT_TRUE(open(Bytes().header(0, 0, 2)).metadata().empty());
  expect_refused(Bytes(), "not a GGUF file: 0 bytes");
  expect_refused(Bytes().raw("GGML").put(3).put(int64_t{0}).put(int64_t{0}), "not a GGUF file");
  expect_refused(Bytes().header(0, 0, 1), "version 1 is not supported");
  expect_refused(Bytes().header(0, 0, 4), "version 4 is not supported");
  expect_refused(Bytes().header(0, 0, 0x03000000), "big-endian");
  const uint64_t many = uint64_t{1} << 60;
  for (const uint64_t count : {uint64_t{100}, many, ~uint64_t{0}}) {  // refused before anything is allocated
    expect_refused(Bytes().header(count, 0).data(64), "more than the file's");
    expect_refused(Bytes().header(0, count).data(64), "more than the file's");
  }
  expect_refused(Bytes().header(0, 1).data(64), "the name of metadata key 0 is empty");
}

TEST_F(Gguf, HostileMetadata) {
  const auto with = [](const std::function<void(Bytes&)>& add) {
    Bytes b;
    b.header(0, 1);
    add(b);
    return b.data(0);
  };
  const uint64_t huge = ~uint64_t{0} - 7;
  expect_refused(with([&](Bytes& b) { b.put(huge).raw("key").raw(std::string(20, 'x')); }), "beyond the end");
  expect_refused(with([](Bytes& b) { b.field("", GgufType::u32).put(1); }), "key 0 is empty");
  expect_refused(with([](Bytes& b) { b.field("a\xff", GgufType::u32).put(1); }), "not valid UTF-8");
  expect_refused(with([](Bytes& b) { b.field(std::string(65536, 'k'), GgufType::u32).put(1); }),
                 "at most 65535");
  expect_refused(with([](Bytes& b) { b.str("k").put(13).put(1); }), "metadata 'k' has the unknown type 13");
  expect_refused(with([](Bytes& b) { b.str("k").put(~uint32_t{0}).put(1); }), "unknown type 4294967295");
  expect_refused(with([](Bytes& b) { b.field("k", GgufType::boolean).put('\2'); }), "holds 2 where 0 or 1");
  expect_refused(with([](Bytes& b) { b.field("k", GgufType::string).str("\xc0\xaf"); }), "not valid UTF-8");
  expect_refused(with([&](Bytes& b) { b.field("k", GgufType::string).put(huge).raw("text"); }),
                 "beyond the end");
  const auto list = [&](GgufType type, uint64_t count) {
    return with([&](Bytes& b) {
      b.field("k", GgufType::array).put(static_cast<uint32_t>(type)).put(count).raw(std::string(32, '\0'));
    });
  };
  EXPECT_EQ(open(list(GgufType::u8, 32)).integers("k").size(), 32u);
  EXPECT_TRUE(open(list(GgufType::u8, 0)).integers("k").empty());
  EXPECT_EQ(open(list(GgufType::string, 4)).texts("k").size(), 4u);
  expect_refused(list(GgufType::array, 1), "a list of lists");
  expect_refused(list(static_cast<GgufType>(77), 1), "unknown type 77");
  for (const uint64_t count : {uint64_t{1} << 61, uint64_t{1} << 62, huge}) {  // count times size overflows
    expect_refused(list(GgufType::u64, count), "more than fit into the file");
    expect_refused(list(GgufType::string, count), "beyond the end");
  }
  Bytes twice;
  twice.header(0, 2).field("k", GgufType::u8).put('\1').field("k", GgufType::u8).put('\2').data(8);
  expect_refused(twice, "metadata key 'k' appears twice");
}

TEST_F(Gguf, NamesInMessagesAreShortAndHarmless) {
  Bytes b;
  b.header(0, 1).str("\x1b[31m" + std::string(5000, 'k')).put(99);
  try {
    open(b.data(8));
    FAIL();
  } catch (const Error& error) {
    const std::string message = error.what();
    EXPECT_EQ(message.find('\x1b'), std::string::npos);
    EXPECT_LT(message.size(), raw_.path().string().size() + 300);
  }
}

TEST_F(Gguf, HostileAlignments) {
  const auto aligned = [](uint32_t value, uint64_t second) {
    Bytes b;
    b.header(2, 1).field("general.alignment", GgufType::u32).put(value);
    b.tensor("a", {1}, 0, 0).tensor("b", {1}, 0, second);
    return b.data(256, 8);
  };
  EXPECT_EQ(open(aligned(64, 64)).entries().size(), 2u);
  EXPECT_EQ(open(aligned(8, 8)).entries().size(), 2u);
  expect_refused(aligned(64, 32), "offset 32 is not a multiple of the alignment 64");
  for (const uint32_t bad : {0u, 1u, 4u, 33u, 1u << 31, ~0u})
    expect_refused(aligned(bad, 64), "power of two");
  Bytes b;
  b.header(0, 1).field("general.alignment", GgufType::string).str("32");
  expect_refused(b, "is not a u32");
}

TEST_F(Gguf, HostileTensors) {
  const auto one = [](const std::vector<uint64_t>& dims, uint32_t type = 0, uint64_t offset = 0) {
    return Bytes().header(1, 0).tensor("t", dims, type, offset).data(4096);
  };
  EXPECT_EQ(open(one({8, 4, 2, 3})).find("t")->shape, (std::vector<int64_t>{3, 2, 4, 8}));
  expect_refused(one({}), "0 dimensions");
  expect_refused(one({1, 1, 1, 1, 1}), "5 dimensions; expected 1 to 4");
  expect_refused(one({0, 4}), "dimension 0 is 0");
  expect_refused(one({4, 0}), "dimension 1 is 0");
  expect_refused(one({~uint64_t{0}}), "dimension 0 is 18446744073709551615");
  expect_refused(one({uint64_t{1} << 63}), "dimension 0 is");
  expect_refused(one({INT64_MAX, 2}), "its dimensions overflow");
  expect_refused(one({uint64_t{1} << 32, uint64_t{1} << 32}), "its dimensions overflow");
  expect_refused(one({uint64_t{1} << 21, uint64_t{1} << 21, uint64_t{1} << 20}),
                 "overflow");  // in bytes only
  expect_refused(one({INT64_MAX / 4}), "goes beyond");
  expect_refused(one({2048}), "goes beyond the file's 4096 bytes of data");
  expect_refused(one({33}, 8), "rows of 33 values are no whole blocks of 32 (q8_0)");
  expect_refused(one({128}, 12), "no whole blocks of 256");
  expect_refused(one({8}, 4), "GGUF type 4, is not supported; known: f32 (0)");
  expect_refused(one({8}, 26), "GGUF type 26, is not supported");  // i32
  expect_refused(one({8}, ~uint32_t{0}), "GGUF type 4294967295");
  expect_refused(one({8}, 0, 7), "offset 7 is not a multiple");
  expect_refused(one({8}, 0, 8192), "goes beyond");
  expect_refused(one({8}, 0, ~uint64_t{0} - 31), "goes beyond");  // offset and size overflow
  expect_refused(Bytes().header(1, 0).tensor("", {8}, 0, 0).data(64), "the name of tensor 0 is empty");
  expect_refused(Bytes().header(1, 0).tensor("\xff", {8}, 0, 0).data(64), "not valid UTF-8");
}

TEST_F(Gguf, OverlapsHolesAndDuplicates) {
  const auto two = [](std::string_view name, uint64_t first, uint64_t second) {
    Bytes b;
    b.header(2, 0).tensor("a", {16}, 0, first).tensor(name, {16}, 0, second);
    return b.data(4096);
  };
  EXPECT_EQ(open(two("b", 64, 0)).entries()[0].name, "a");
  EXPECT_EQ(open(two("b", 0, 1024)).entries().size(), 2u);  // a hole harms nobody
  expect_refused(two("b", 0, 32), "tensors 'a' and 'b' overlap");
  expect_refused(two("b", 32, 0), "tensors 'b' and 'a' overlap");
  expect_refused(two("b", 0, 0), "overlap");
  expect_refused(two("a", 0, 64), "tensor 'a' appears twice");
}

TEST_F(Gguf, ManySmallKeysTakeMemoryInProportion) {
  Bytes b;
  constexpr uint64_t kKeys = 100'000;
  b.header(0, kKeys);
  for (uint64_t i = 0; i < kKeys; ++i) b.field(fmt::format("{}", i), GgufType::u8).put('\1');
  const GgufFile file = open(b);
  EXPECT_EQ(file.integer("99999"), 1);
  EXPECT_EQ(file.integer("0"), 1);
}

}  // namespace
}  // namespace frugal
