#include "hub/pull.h"

#include <algorithm>

#include "core/error.h"
#include "hub/repository.h"
#include "hub/store.h"
#include "net/url.h"

namespace frugal::hub {
namespace {

std::string checked_endpoint(std::string endpoint) {
  while (endpoint.ends_with('/')) endpoint.pop_back();
  if (net::origin_of(endpoint).empty() || endpoint.find_first_of("?#") != std::string::npos) {
    fail_usage("HF_ENDPOINT is '{}'; expected an http or https URL", endpoint);
  }
  return endpoint;
}

RemoteFile file_of_url(const Source& source, const std::string& sha256) {
  const std::string path = net::url_decode(net::without_query(source.url));
  RemoteFile file;
  file.path = path.substr(path.rfind('/') + 1);
  file.url = source.url;
  if (!sha256.empty()) {
    file.checksum = Checksum::of_hex(sha256);
    if (file.checksum.kind != Checksum::Kind::sha256)
      fail_usage("'{}' is no SHA-256: expected 64 hexadecimal digits", sha256);
  }
  return file;
}

class Pull {
 public:
  Pull(const Source& source, const PullOptions& options,
       const std::function<void(const PullProgress&)>& progress)
      : source_(source),
        options_(options),
        progress_(progress),
        endpoint_(checked_endpoint(options.endpoint)),
        client_({.user_agent = options.user_agent,
                 .token = options.token,
                 .token_origin = net::origin_of(endpoint_),
                 .ca_file = options.ca_file,
                 .connect_seconds = options.connect_seconds,
                 .stall_seconds = options.stall_seconds,
                 .stop = options.stop}) {}

  PullResult run() {
    PullResult result;
    result.directory = directory_for(options_.store, source_);
    const std::vector<RemoteFile> files = wanted(result.commit);
    for (const RemoteFile& file : files) total_ += file.size.value_or(0);
    if (std::ranges::any_of(files, [](const RemoteFile& f) { return !f.size; })) total_ = 0;
    make_directories(result.directory);
    Record record(result.directory);
    for (size_t i = 0; i < files.size(); ++i) {
      PulledFile pulled = fetch(files[i], {files[i].path, i, files.size(), done_, total_}, result, record);
      done_ += pulled.size;
      record.set(pulled.path, {pulled.size, pulled.checksum});
      record.save(source_.text, result.commit);
      result.files.push_back(std::move(pulled));
    }
    return result;
  }

 private:
  std::vector<RemoteFile> wanted(std::string& commit) {
    if (source_.is_url()) return {file_of_url(source_, options_.sha256)};
    if (!options_.sha256.empty()) fail_usage("--sha256 goes with a URL; a hub says its own");
    const Repository repository = list_repository(client_, endpoint_, source_, options_.retry);
    commit = repository.commit;
    return choose_files(repository, source_);
  }

  PulledFile fetch(const RemoteFile& file, PullProgress at, PullResult& result, const Record& record) {
    const fs::path target = result.directory / file.path;
    if (const auto there = present(file, target, record, result.commit); there && !options_.again)
      return {file.path, static_cast<int64_t>(fs::file_size(target)), *there, false};
    const auto report = [&](int64_t done, int64_t total) {
      at.done = done_ + done;
      if (at.count == 1) at.total = total;
      if (progress_) progress_(at);
    };
    const Downloaded got = download(client_, file, target, options_.retry, report);
    result.received += got.received;
    return {file.path, got.size, got.checksum, true};
  }

  // The checksum of a file that is there and right: by the record, else by looking at it.
  std::optional<Checksum> present(const RemoteFile& file, const fs::path& target, const Record& record,
                                  const std::string& commit) const {
    const bool checked = file.checksum.kind != Checksum::Kind::none;
    if (const Record::Known* known = record.find(file.path)) {
      if (checked && known->checksum == file.checksum) return known->checksum;
      if (!checked && record.commit() == commit) return known->checksum;
    }
    std::error_code error;
    if (!checked || !fs::is_regular_file(target, error)) return std::nullopt;
    if (file.size && fs::file_size(target, error) != static_cast<uintmax_t>(*file.size)) return std::nullopt;
    const Checksum found = checksum_of(target, file.checksum.kind);
    return found == file.checksum ? std::optional(found) : std::nullopt;
  }

  const Source& source_;
  const PullOptions& options_;
  const std::function<void(const PullProgress&)>& progress_;
  std::string endpoint_;
  HttpClient client_;
  int64_t done_ = 0, total_ = 0;
};

}  // namespace

PullResult pull(const Source& source, const PullOptions& options,
                const std::function<void(const PullProgress&)>& progress) {
  return Pull(source, options, progress).run();
}

}  // namespace frugal::hub
