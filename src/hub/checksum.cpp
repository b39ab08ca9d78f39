#include "hub/checksum.h"

#include <openssl/evp.h>

#include <algorithm>
#include <fstream>
#include <memory>
#include <vector>

#include "core/error.h"

namespace frugal::hub {
namespace {

constexpr std::string_view kSha256 = "sha256:", kGitBlob = "git-blob:";

class Digest {
 public:
  explicit Digest(const EVP_MD* algorithm) : context_(EVP_MD_CTX_new(), &EVP_MD_CTX_free) {
    CHECK(context_ != nullptr && EVP_DigestInit_ex(context_.get(), algorithm, nullptr) == 1);
  }
  void add(const void* data, size_t bytes) { CHECK(EVP_DigestUpdate(context_.get(), data, bytes) == 1); }
  std::string hex() {
    unsigned char value[EVP_MAX_MD_SIZE];
    unsigned int size = 0;
    CHECK(EVP_DigestFinal_ex(context_.get(), value, &size) == 1);
    std::string text;
    for (unsigned int i = 0; i < size; ++i) text += fmt::format("{:02x}", value[i]);
    return text;
  }

 private:
  std::unique_ptr<EVP_MD_CTX, void (*)(EVP_MD_CTX*)> context_;
};

}  // namespace

std::string Checksum::text() const {
  if (kind == Kind::none) return "";
  return std::string(kind == Kind::sha256 ? kSha256 : kGitBlob) + hex;
}

Checksum Checksum::parse(std::string_view text) {
  for (const auto& [prefix, kind] : {std::pair{kSha256, Kind::sha256}, {kGitBlob, Kind::git_blob}}) {
    if (!text.starts_with(prefix)) continue;
    const Checksum found = of_hex(text.substr(prefix.size()));
    if (found.kind == kind) return found;
  }
  return {};
}

Checksum Checksum::of_hex(std::string_view hex) {
  Checksum out;
  for (const char c : hex) {
    const char lower = c >= 'A' && c <= 'F' ? static_cast<char>(c - 'A' + 'a') : c;
    if (!(lower >= '0' && lower <= '9') && !(lower >= 'a' && lower <= 'f')) return {};
    out.hex += lower;
  }
  if (hex.size() == 64) out.kind = Kind::sha256;
  if (hex.size() == 40) out.kind = Kind::git_blob;
  return out.kind == Kind::none ? Checksum{} : out;
}

Checksum checksum_of(const fs::path& path, Checksum::Kind kind) {
  CHECK(kind != Checksum::Kind::none);
  std::ifstream file(path, std::ios::binary);
  if (!file) fail("{}: cannot read the file to check it", path.string());
  Digest digest(kind == Checksum::Kind::sha256 ? EVP_sha256() : EVP_sha1());
  if (kind == Checksum::Kind::git_blob) {
    const std::string header = fmt::format("blob {}", fs::file_size(path));
    digest.add(header.c_str(), header.size() + 1);
  }
  std::vector<char> buffer(1 << 20);
  while (file) {
    file.read(buffer.data(), static_cast<std::streamsize>(buffer.size()));
    digest.add(buffer.data(), static_cast<size_t>(file.gcount()));
  }
  if (file.bad()) fail("{}: cannot read the file to check it", path.string());
  return {kind, digest.hex()};
}

}  // namespace frugal::hub
