#include "core/files.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>

#include "core/error.h"
#include "core/huge_pages.h"

namespace frugal {
namespace {

std::string reason() {
  return std::strerror(errno);
}

struct Descriptor {
  int value;
  ~Descriptor() {
    if (value >= 0) ::close(value);
  }
};

int open_for_reading(const fs::path& path, size_t& size) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) fail("{}: cannot open: {}", path.string(), reason());
  struct stat info {};
  if (::fstat(descriptor, &info) != 0 || S_ISDIR(info.st_mode)) {
    const std::string why = S_ISDIR(info.st_mode) ? "it is a directory" : reason();
    ::close(descriptor);
    fail("{}: cannot read: {}", path.string(), why);
  }
  size = static_cast<size_t>(info.st_size);
  return descriptor;
}

}  // namespace

std::string read_file(const fs::path& path) {
  size_t size = 0;
  const Descriptor file{open_for_reading(path, size)};
  std::string content(size, '\0');
  size_t done = 0;
  for (;;) {  // the size is a hint only: pipes and /proc report 0
    if (done == content.size()) content.resize(content.size() + (1 << 16));
    const ssize_t n = ::read(file.value, content.data() + done, content.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail("{}: cannot read: {}", path.string(), reason());
    if (n == 0) break;
    done += static_cast<size_t>(n);
  }
  content.resize(done);
  return content;
}

void make_directories(const fs::path& directory) {
  std::error_code error;
  fs::create_directories(directory, error);
  if (error) fail("{}: cannot create directory: {}", directory.string(), error.message());
}

void sync_directory(const fs::path& directory) {
  const Descriptor file{
      ::open(directory.empty() ? "." : directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  if (file.value >= 0) ::fsync(file.value);  // some file systems refuse; the rename itself is still atomic
}

AtomicFile::AtomicFile(const fs::path& path) : path_(path) {
  static std::atomic<unsigned> counter{0};  // two writers in one process must not share a temporary
  temporary_ = path;
  temporary_ += fmt::format(".tmp{}-{}", ::getpid(), counter++);
  descriptor_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (descriptor_ < 0) fail("{}: cannot write: {}", path.string(), reason());
}

AtomicFile::~AtomicFile() {
  if (descriptor_ < 0) return;
  ::close(descriptor_);
  ::unlink(temporary_.c_str());
}

void AtomicFile::write(const void* data, size_t bytes) {
  constexpr size_t kBuffer = 1 << 20;
  buffer_.append(static_cast<const char*>(data), bytes);
  if (buffer_.size() >= kBuffer) flush();
}

void AtomicFile::flush() {
  size_t done = 0;
  while (done < buffer_.size()) {
    const ssize_t n = ::write(descriptor_, buffer_.data() + done, buffer_.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail("{}: cannot write: {}", path_.string(), reason());
    done += static_cast<size_t>(n);
  }
  buffer_.clear();
}

void AtomicFile::commit() {
  flush();
  if (::fsync(descriptor_) != 0) fail("{}: cannot write: {}", path_.string(), reason());
  ::close(descriptor_);
  descriptor_ = -1;
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) {
    const std::string why = reason();
    ::unlink(temporary_.c_str());
    fail("{}: cannot write: {}", path_.string(), why);
  }
  sync_directory(path_.parent_path());
}

void write_file_atomically(const fs::path& path, std::string_view content) {
  AtomicFile file(path);
  file.write(content);
  file.commit();
}

MappedFile::MappedFile(const fs::path& path) : path_(path) {
  const Descriptor file{open_for_reading(path, size_)};
  if (size_ == 0) return;
  void* map = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, file.value, 0);
  if (map == MAP_FAILED) fail("{}: cannot map: {}", path.string(), reason());
  prefer_huge_pages(map, size_);
  data_ = map;
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(data_, size_);
}

}  // namespace frugal
