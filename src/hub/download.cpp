#include "hub/download.h"

#include <algorithm>
#include <charconv>

#include "hub/part_file.h"
#include "hub/retry.h"
#include "hub/source.h"
#include "net/url.h"

namespace frugal::hub {
namespace {

std::optional<int64_t> number(std::string_view text) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size() || value < 0) return std::nullopt;
  return value;
}

// "bytes 100-199/200"
struct ContentRange {
  std::optional<int64_t> begin, total;
};
ContentRange parse_range(const std::string& text) {
  constexpr std::string_view kUnit = "bytes ";
  const size_t dash = text.find('-'), slash = text.find('/');
  if (!text.starts_with(kUnit) || dash == std::string::npos || slash == std::string::npos || slash < dash)
    return {};
  return {number(std::string_view(text).substr(kUnit.size(), dash - kUnit.size())),
          number(std::string_view(text).substr(slash + 1))};
}

std::string unquoted(std::string text) {
  if (text.starts_with("W/")) text = text.substr(2);
  if (text.size() >= 2 && text.front() == '"' && text.back() == '"') text = text.substr(1, text.size() - 2);
  return text;
}

class Download {
 public:
  Download(HttpClient& client, const RemoteFile& file, const fs::path& target,
           const std::function<void(int64_t, int64_t)>& progress)
      : client_(client),
        file_(file),
        target_(target),
        progress_(progress),
        part_(file, target),
        size_(file.size),
        checksum_(file.checksum) {}

  Downloaded run(const RetryPolicy& policy) {
    check_space();
    for (bool again = false;; again = true) {
      fetch(policy);
      Downloaded out{part_.size(), received_, {}};
      const auto kind = checksum_.kind == Checksum::Kind::none ? Checksum::Kind::sha256 : checksum_.kind;
      out.checksum = checksum_of(part_.path(), kind);
      if (checksum_.kind == Checksum::Kind::none || out.checksum == checksum_) {
        part_.commit();
        return out;
      }
      part_.restart();
      if (again) {
        part_.discard();
        fail("{}: the content is not what it should be, twice: expected {}, found {}; nothing was kept",
             net::without_query(file_.url), checksum_.text(), out.checksum.text());
      }
    }
  }

 private:
  bool complete() const { return size_ && part_.size() == *size_; }

  void check_space() const {
    std::error_code error;
    const fs::space_info space =
        fs::space(target_.parent_path().empty() ? "." : target_.parent_path(), error);
    if (error || !size_) return;
    const auto wanted = static_cast<uintmax_t>(std::max<int64_t>(0, *size_ - part_.size()));
    if (wanted > space.available) {
      fail("{}: needs {:.1f} MB more, and {:.1f} MB are free there", target_.string(),
           static_cast<double>(wanted) / 1e6, static_cast<double>(space.available) / 1e6);
    }
  }

  void fetch(const RetryPolicy& policy) {
    net::Patience patience(policy, client_.options().stop);
    while (!complete()) {
      const int64_t before = received_;
      std::string retry_after;
      try {
        const HttpHead head = request();
        if (head.ok() && !size_) return;  // its end is the connection's
        if (head.ok() && complete()) return;
        if (head.status == 416 && part_.size() > 0) {
          part_.restart();  // what is here is longer than what is there, or something else
        } else if (!head.ok() && !net::is_temporary(head.status)) {
          fail_status(head, file_.url, !client_.options().token.empty());
        }
        retry_after = head.header("retry-after");
        if (received_ > before) patience.progressed();
        if (patience.wait(retry_after)) continue;
        if (!head.ok()) fail_status(head, file_.url, !client_.options().token.empty());
        fail("{}: the connection ends early, at {} of {} bytes; run the same command to go on",
             net::without_query(file_.url), part_.size(), *size_);
      } catch (const net::TransferError& error) {
        if (!error.retry) throw;
        if (received_ > before) patience.progressed();
        if (patience.wait("")) continue;
        fail("{}; {} bytes are kept, run the same command to go on", error.what(), part_.size());
      }
    }
  }

  HttpHead request() {
    // Without a validator and a checksum nobody could tell whether the rest belongs to the beginning.
    if (part_.etag().empty() && checksum_.kind == Checksum::Kind::none) part_.restart();
    std::vector<std::string> headers;
    if (part_.size() > 0) {
      headers.push_back(fmt::format("Range: bytes={}-", part_.size()));
      if (!part_.etag().empty()) headers.push_back("If-Range: " + part_.etag());
    }
    if (progress_) progress_(part_.size(), size_.value_or(0));
    return client_.get(
        file_.url, headers,
        {[&](const HttpHead& head) { begin(head); }, [&](std::span<const char> bytes) { take(bytes); }});
  }

  void begin(const HttpHead& head) {
    const std::string where = net::without_query(file_.url), encoding = head.header("content-encoding");
    if (!encoding.empty() && encoding != "identity")
      fail("{}: sent as {}, which was not asked for", where, encoding);
    if (head.header("content-type").starts_with("text/html") && !target_.string().ends_with(".html")) {
      fail(
          "{}: the server sends a web page, not the file; is the address that of a page (/blob/ in place of "
          "/resolve/)?",
          where);
    }
    std::optional<int64_t> total;
    if (head.status == 206) {
      const ContentRange range = parse_range(head.header("content-range"));
      total = range.total;
      if (!range.begin || *range.begin != part_.size()) {
        part_.restart();
        throw net::TransferError(fmt::format("{}: the server sends another range than asked for", where),
                                 true, true);
      }
    } else {
      part_.restart();  // the whole file: the first answer, or the server knows no ranges
      total = number(head.header("content-length"));
    }
    if (total && size_ && *total != *size_) {
      part_.discard();
      fail("{}: {} bytes, where {} are expected; the file may have changed: try again", where, *total,
           *size_);
    }
    if (total && !size_) {
      size_ = total;
      check_space();
    }
    // The hub's own word, where a list of files had none.
    if (checksum_.kind == Checksum::Kind::none)
      checksum_ = Checksum::of_hex(unquoted(head.header("x-linked-etag")));
    part_.set_etag(head.header("etag"));
  }

  void take(std::span<const char> bytes) {
    if (size_ && part_.size() + std::ssize(bytes) > *size_) {
      part_.discard();
      fail("{}: more than the {} bytes expected", net::without_query(file_.url), *size_);
    }
    part_.append(bytes);
    received_ += std::ssize(bytes);
    if (progress_) progress_(part_.size(), size_.value_or(0));
  }

  HttpClient& client_;
  const RemoteFile& file_;
  const fs::path& target_;
  const std::function<void(int64_t, int64_t)>& progress_;
  PartFile part_;
  std::optional<int64_t> size_;
  Checksum checksum_;
  int64_t received_ = 0;
};

}  // namespace

Downloaded download(HttpClient& client, const RemoteFile& file, const fs::path& target,
                    const RetryPolicy& policy, const std::function<void(int64_t, int64_t)>& progress) {
  return Download(client, file, target, progress).run(policy);
}

}  // namespace frugal::hub
