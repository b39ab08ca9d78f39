#include "hub/repository.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <set>

#include "core/error.h"
#include "core/json.h"
#include "hub/retry.h"
#include "net/url.h"

namespace frugal::hub {
namespace {

constexpr size_t kLongestList = 32 << 20;

std::string text_of(const Json& json, const char* key) {
  const auto it = json.is_object() ? json.find(key) : json.end();
  return it != json.end() && it->is_string() ? it->get<std::string>() : "";
}

std::optional<int64_t> size_of(const Json& json, const char* key) {
  const auto it = json.find(key);
  if (it == json.end() || !it->is_number_integer() || it->get<int64_t>() < 0) return std::nullopt;
  return it->get<int64_t>();
}

// One of "siblings": {"rfilename", "size", "blobId", "lfs": {"sha256", "size"}}.
RemoteFile parse_file(const Json& entry) {
  RemoteFile file;
  file.path = text_of(entry, "rfilename");
  if (!entry.is_object()) return file;
  file.size = size_of(entry, "size");
  file.checksum = Checksum::of_hex(text_of(entry, "blobId"));
  if (const auto lfs = entry.find("lfs"); lfs != entry.end() && lfs->is_object()) {
    file.checksum = Checksum::of_hex(text_of(*lfs, "sha256"));  // blobId is that of a pointer
    if (const auto size = size_of(*lfs, "size")) file.size = size;
  }
  return file;
}

bool ends_with_any(std::string_view path, std::span<const std::string_view> ends) {
  return std::ranges::any_of(ends, [&](std::string_view end) { return path.ends_with(end); });
}

bool at_top(const RemoteFile& file) {
  return file.path.find('/') == std::string::npos;
}

// What a directory in Hugging Face layout has beside its weights.
bool describes_model(const RemoteFile& file) {
  static constexpr std::array<std::string_view, 13> kNames = {"config.json",
                                                              "generation_config.json",
                                                              "tokenizer.json",
                                                              "tokenizer_config.json",
                                                              "tokenizer.model",
                                                              "special_tokens_map.json",
                                                              "added_tokens.json",
                                                              "vocab.json",
                                                              "merges.txt",
                                                              "chat_template.jinja",
                                                              "chat_template.json",
                                                              "adapter_config.json",
                                                              "model.safetensors.index.json"};
  return std::ranges::find(kNames, file.path) != kNames.end() || file.path.starts_with("LICENSE");
}

std::string describe(const RemoteFile& file) {
  return file.size ? fmt::format("{} ({:.1f} MB)", file.path, static_cast<double>(*file.size) / 1e6)
                   : file.path;
}

std::string list(const std::vector<RemoteFile>& files) {
  constexpr size_t kShown = 12;
  std::string text;
  for (size_t i = 0; i < std::min(kShown, files.size()); ++i) text += (i ? ", " : "") + describe(files[i]);
  return text + (files.size() > kShown ? fmt::format(", and {} more", files.size() - kShown) : "");
}

// NAME of NAME-00001-of-00003.gguf; the path itself for a file that is whole.
std::string stem_of_parts(const std::string& path) {
  constexpr std::string_view kShape = "-00001-of-00003.gguf";
  if (path.size() <= kShape.size()) return path;
  const std::string_view end = std::string_view(path).substr(path.size() - kShape.size());
  for (size_t i = 0; i < kShape.size(); ++i) {
    const bool digit = kShape[i] >= '0' && kShape[i] <= '9';
    if (digit ? end[i] < '0' || end[i] > '9' : end[i] != kShape[i]) return path;
  }
  return path.substr(0, path.size() - kShape.size());
}

std::vector<RemoteFile> safetensors_model(const std::vector<RemoteFile>& files) {
  std::vector<RemoteFile> weights, out;
  for (const RemoteFile& file : files) {
    if (at_top(file) && file.path.ends_with(".safetensors")) weights.push_back(file);
  }
  if (weights.empty()) return {};
  const auto keep = [&](auto wanted) {
    std::vector<RemoteFile> kept;
    std::ranges::copy_if(weights, std::back_inserter(kept), wanted);
    if (!kept.empty()) weights = kept;
  };
  // Some repositories hold the same weights twice: whole and in shards, or for another program.
  keep([](const RemoteFile& f) { return f.path.starts_with("model"); });
  keep([](const RemoteFile& f) { return f.path == "model.safetensors"; });
  const bool whole = weights.size() == 1 && weights[0].path == "model.safetensors";
  for (const RemoteFile& file : files) {
    if (describes_model(file) && !(whole && file.path.ends_with(".index.json"))) out.push_back(file);
  }
  out.insert(out.end(), weights.begin(), weights.end());
  return out;
}

}  // namespace

Repository list_repository(HttpClient& client, const std::string& endpoint, const Source& source,
                           const RetryPolicy& policy) {
  const std::string name = net::url_encode(source.repository, true);
  const std::string url = fmt::format("{}/api/models/{}/revision/{}?blobs=true", endpoint, name,
                                      net::url_encode(source.revision, false));
  const Json json = parse_json(fetch_document(client, url, policy, kLongestList), net::without_query(url));
  const auto siblings = json.is_object() ? json.find("siblings") : json.end();
  if (siblings == json.end() || !siblings->is_array())
    fail("{}: not the answer of a model hub: it lists no files", net::without_query(url));
  Repository out;
  out.commit = text_of(json, "sha");
  if (!is_safe_path(out.commit)) out.commit = source.revision;
  std::set<std::string> seen;
  for (const Json& entry : *siblings) {
    RemoteFile file = parse_file(entry);
    if (!is_safe_path(file.path) || !seen.insert(file.path).second) continue;
    file.url = fmt::format("{}/{}/resolve/{}/{}", endpoint, name, net::url_encode(out.commit, false),
                           net::url_encode(file.path, true));
    out.files.push_back(std::move(file));
  }
  return out;
}

std::vector<RemoteFile> choose_files(const Repository& repository, const Source& source) {
  std::vector<RemoteFile> gguf, out;
  for (const RemoteFile& file : repository.files) {
    if (file.path.ends_with(".gguf")) gguf.push_back(file);
  }
  if (!source.pattern.empty()) {
    std::set<std::string> stems;
    for (const RemoteFile& file : repository.files) {
      if (matches(source.pattern, file.path)) stems.insert(stem_of_parts(file.path));
    }
    for (const RemoteFile& file : repository.files) {
      if (stems.contains(stem_of_parts(file.path))) out.push_back(file);
    }
    if (out.empty())
      fail("{}: no file matches '{}'; there are: {}", source.repository, source.pattern,
           list(repository.files));
    return out;
  }
  if (out = safetensors_model(repository.files); !out.empty()) return out;
  std::set<std::string> models;
  for (const RemoteFile& file : gguf) models.insert(stem_of_parts(file.path));
  if (models.size() == 1) return gguf;
  if (models.size() > 1) {
    fail("{}: more than one GGUF file; choose with hf:{}:FILE among: {}", source.repository,
         source.repository, list(gguf));
  }
  static constexpr std::array<std::string_view, 4> kOther = {".bin", ".pt", ".pth", ".ckpt"};
  std::vector<RemoteFile> other;
  for (const RemoteFile& file : repository.files) {
    if (ends_with_any(file.path, kOther)) other.push_back(file);
  }
  if (!other.empty()) {
    fail(
        "{}: no safetensors and no GGUF, only {}: files of that kind can run code when they are opened and "
        "are "
        "not read",
        source.repository, list(other));
  }
  fail("{}: no safetensors and no GGUF file; there are: {}", source.repository, list(repository.files));
}

}  // namespace frugal::hub
