#include "data/byte_reader.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <vector>

#include "core/error.h"

namespace frugal {
namespace {

constexpr size_t kBuffer = 1 << 17;

class PlainReader : public ByteReader {
 public:
  explicit PlainReader(const std::filesystem::path& path) : path_(path.string()) {
    descriptor_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (descriptor_ < 0) fail("{}: cannot open: {}", path_, std::strerror(errno));
    struct stat info {};
    if (::fstat(descriptor_, &info) == 0 && S_ISDIR(info.st_mode)) {
      ::close(descriptor_);
      fail("{}: is a directory, expected a file", path_);
    }
  }
  ~PlainReader() override { ::close(descriptor_); }
  PlainReader(const PlainReader&) = delete;
  PlainReader& operator=(const PlainReader&) = delete;

  size_t read(char* out, size_t bytes) override {
    for (;;) {
      const ssize_t n = ::read(descriptor_, out, bytes);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) fail("{}: cannot read: {}", path_, std::strerror(errno));
      consumed_ += n;
      return static_cast<size_t>(n);
    }
  }
  int64_t consumed() const override { return consumed_; }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
  int descriptor_ = -1;
  int64_t consumed_ = 0;
};

// What the two decompressors share: a buffer of compressed bytes.
class CompressedReader : public ByteReader {
 public:
  explicit CompressedReader(const std::filesystem::path& path) : file_(path), buffer_(kBuffer) {}
  int64_t consumed() const override { return file_.consumed(); }

 protected:
  // False at the end of the file.
  bool refill() {
    available_ = file_.read(buffer_.data(), buffer_.size());
    next_ = 0;
    return available_ > 0;
  }
  [[noreturn]] void truncated() const {
    fail("{}: the compressed stream ends early (a truncated download or copy?)", file_.path());
  }
  [[noreturn]] void damaged(const char* reason) const {
    fail("{}: not a valid compressed file: {}", file_.path(), reason);
  }
  PlainReader file_;
  std::vector<char> buffer_;
  size_t next_ = 0, available_ = 0;
};

class GzipReader : public CompressedReader {
 public:
  explicit GzipReader(const std::filesystem::path& path) : CompressedReader(path) {
    CHECK(::inflateInit2(&stream_, 15 + 16) == Z_OK);  // 16: a gzip header, nothing else
  }
  ~GzipReader() override { ::inflateEnd(&stream_); }

  size_t read(char* out, size_t bytes) override {
    size_t written = 0;
    while (written == 0) {
      if (next_ == available_ && !refill()) {
        if (inside_) truncated();
        return 0;
      }
      inside_ = true;
      stream_.next_in = reinterpret_cast<Bytef*>(buffer_.data() + next_);
      stream_.avail_in = static_cast<uInt>(available_ - next_);
      stream_.next_out = reinterpret_cast<Bytef*>(out);
      stream_.avail_out = static_cast<uInt>(std::min<size_t>(bytes, 1u << 30));
      const uInt room = stream_.avail_out;
      const int status = ::inflate(&stream_, Z_NO_FLUSH);
      next_ = available_ - stream_.avail_in;
      written = room - stream_.avail_out;
      if (status == Z_STREAM_END) {
        inside_ = false;
        CHECK(::inflateReset(&stream_) == Z_OK);
      } else if (status != Z_OK && status != Z_BUF_ERROR) {
        damaged(stream_.msg != nullptr ? stream_.msg : "zlib refuses it");
      }
    }
    return written;
  }

 private:
  z_stream stream_{};
  bool inside_ = false;  // between a member's header and its end mark
};

class ZstdReader : public CompressedReader {
 public:
  explicit ZstdReader(const std::filesystem::path& path)
      : CompressedReader(path), stream_(::ZSTD_createDCtx()) {
    CHECK(stream_ != nullptr);
    ::ZSTD_DCtx_setParameter(stream_, ZSTD_d_windowLogMax, 31);  // files made with --long
  }
  ~ZstdReader() override { ::ZSTD_freeDCtx(stream_); }
  ZstdReader(const ZstdReader&) = delete;
  ZstdReader& operator=(const ZstdReader&) = delete;

  size_t read(char* out, size_t bytes) override {
    ZSTD_outBuffer output{out, bytes, 0};
    while (output.pos == 0) {
      // With input used up, output may still be waiting inside the decoder as long as it filled the last
      // buffer.
      if (next_ == available_ && !pending_ && !refill()) {
        if (inside_) truncated();
        return 0;
      }
      ZSTD_inBuffer input{buffer_.data(), available_, next_};
      const size_t status = ::ZSTD_decompressStream(stream_, &output, &input);
      if (::ZSTD_isError(status)) damaged(::ZSTD_getErrorName(status));
      next_ = input.pos;
      inside_ = status != 0;
      pending_ = inside_ && output.pos == output.size;
    }
    return output.pos;
  }

 private:
  ZSTD_DCtx* stream_;
  bool inside_ = false, pending_ = false;
};

}  // namespace

std::unique_ptr<ByteReader> open_bytes(const std::filesystem::path& path) {
  if (path.extension() == ".gz") return std::make_unique<GzipReader>(path);
  if (path.extension() == ".zst") return std::make_unique<ZstdReader>(path);
  return std::make_unique<PlainReader>(path);
}

}  // namespace frugal
