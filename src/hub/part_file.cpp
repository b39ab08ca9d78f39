#include "hub/part_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>

#include "core/json.h"
#include "hub/source.h"
#include "net/url.h"

namespace frugal::hub {
namespace {

fs::path with_suffix(fs::path path, const char* suffix) {
  return path += suffix;
}

std::string text_of(const Json& json, const char* key) {
  const auto it = json.find(key);
  return it != json.end() && it->is_string() ? it->get<std::string>() : "";
}

}  // namespace

PartFile::PartFile(const RemoteFile& file, const fs::path& target)
    : target_(target),
      path_(with_suffix(target, ".part")),
      description_(with_suffix(target, ".part.json")),
      url_(net::without_query(file.url)),
      checksum_(file.checksum) {
  if (target.has_parent_path()) make_directories(target.parent_path());
  descriptor_ = ::open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
  if (descriptor_ < 0) fail("{}: cannot write: {}", path_.string(), std::strerror(errno));
  if (::flock(descriptor_, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
    ::close(descriptor_);
    fail("{}: another process is fetching it", target.string());
  }
  struct stat info {};
  if (::fstat(descriptor_, &info) == 0) size_ = info.st_size;
  if (size_ == 0) return;
  try {
    const Json known = read_json_file(description_);
    etag_ = text_of(known, "etag");
    const Checksum wanted = Checksum::parse(text_of(known, "checksum"));
    // The same content, by its checksum; where the hub says none, by the address and a validator.
    const bool same = checksum_.kind != Checksum::Kind::none
                          ? wanted == checksum_
                          : text_of(known, "url") == url_ && !etag_.empty();
    if (same && (!file.size || size_ <= *file.size)) return;
  } catch (const Error&) {  // no description, or a broken one
  }
  restart();
}

PartFile::~PartFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

void PartFile::append(std::span<const char> bytes) {
  size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t n = ::pwrite(descriptor_, bytes.data() + done, bytes.size() - done, size_);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      fail("{}: cannot write: {}; what came in is kept, run the same command to go on", path_.string(),
           std::strerror(errno));
    }
    done += static_cast<size_t>(n);
    size_ += n;
  }
}

void PartFile::restart() {
  if (::ftruncate(descriptor_, 0) != 0) fail("{}: cannot write: {}", path_.string(), std::strerror(errno));
  size_ = 0;
  etag_.clear();
}

void PartFile::set_etag(const std::string& etag) {
  const std::string strong = etag.starts_with("W/") ? "" : etag;
  if (strong == etag_ && size_ > 0) return;
  etag_ = strong;
  describe();
}

void PartFile::describe() const {
  write_json_file(description_, {{"url", url_}, {"etag", etag_}, {"checksum", checksum_.text()}});
}

void PartFile::commit() {
  if (::fsync(descriptor_) != 0) fail("{}: cannot write: {}", path_.string(), std::strerror(errno));
  if (::rename(path_.c_str(), target_.c_str()) != 0) {
    fail("{}: cannot write: {}", target_.string(), std::strerror(errno));
  }
  ::unlink(description_.c_str());
  sync_directory(target_.parent_path());
}

void PartFile::discard() {
  ::unlink(path_.c_str());
  ::unlink(description_.c_str());
}

}  // namespace frugal::hub
