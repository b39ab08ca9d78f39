#include "hub/store.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/json.h"
#include "net/url.h"

namespace frugal::hub {
namespace {

constexpr const char* kRecord = ".frugal.json";

std::string host_of(const std::string& url) {
  std::string host = net::origin_of(url);
  host = host.substr(host.find("://") + 3);
  std::ranges::replace(host, ':', '_');
  std::erase_if(host, [](char c) { return c == '[' || c == ']'; });
  return host;
}

// What `Iterator` finds below `folder`, in order; nothing when it cannot be read.
template <class Iterator>
std::vector<fs::path> entries(const fs::path& folder, bool directories) {
  std::vector<fs::path> out;
  std::error_code error;
  for (Iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    std::error_code ignored;
    if (it->is_directory(ignored) == directories) out.push_back(it->path());
  }
  std::ranges::sort(out);
  return out;
}
std::vector<fs::path> folders(const fs::path& folder) {
  return entries<fs::directory_iterator>(folder, true);
}
std::vector<fs::path> files_below(const fs::path& folder) {
  return entries<fs::recursive_directory_iterator>(folder, false);
}

// A later part of a split file: the first stands for all.
bool is_later_part(const std::string& stem) {
  const size_t of = stem.rfind("-of-");
  return of != std::string::npos && of >= 6 && stem[of - 6] == '-' && !stem.substr(0, of).ends_with("-00001");
}

struct Candidate {
  std::string owner, name;
  fs::path path;
};

std::vector<Candidate> candidates(const fs::path& store) {
  std::vector<Candidate> out;
  for (const fs::path& owner : folders(store)) {
    for (const fs::path& model : folders(owner)) {
      const std::string who = owner.filename().string(), name = model.filename().string();
      std::vector<fs::path> gguf;
      bool safetensors = false;
      std::error_code error;
      for (const fs::path& file : files_below(model)) {
        safetensors = safetensors || (file.extension() == ".safetensors" && file.parent_path() == model);
        if (file.extension() == ".gguf" && !is_later_part(file.stem().string())) gguf.push_back(file);
      }
      if (safetensors && fs::exists(model / "config.json", error)) out.push_back({who, name, model});
      for (const fs::path& file : gguf) {
        if (gguf.size() == 1 && !safetensors) {
          out.push_back({who, name, file});
          if (file.stem() == name) continue;
        }
        out.push_back({who, file.stem().string(), file});
      }
    }
  }
  return out;
}

}  // namespace

fs::path directory_for(const fs::path& store, const Source& source) {
  if (source.is_url()) {
    const std::string path = net::url_decode(net::without_query(source.url));
    const std::string file = path.substr(path.rfind('/') + 1);
    if (!is_safe_path(file)) {
      fail("{}: the URL ends in no usable file name; expected one such as .../model.gguf", source.text);
    }
    return store / host_of(source.url) / fs::path(file).stem();
  }
  const size_t slash = source.repository.find('/');
  const bool alone = slash == std::string::npos;
  std::string name = alone ? source.repository : source.repository.substr(slash + 1);
  if (source.revision != "main") {
    std::string revision = source.revision;
    std::ranges::replace(revision, '/', '_');
    name += "@" + revision;
  }
  return store / (alone ? "models" : source.repository.substr(0, slash)) / name;
}

Record::Record(const fs::path& directory) : directory_(directory) {
  try {
    const Json json = read_json_file(directory / kRecord);
    commit_ = json.at("commit").get<std::string>();
    for (const auto& [path, file] : json.at("files").items()) {
      files_[path] = {file.at("size").get<int64_t>(),
                      Checksum::parse(file.at("checksum").get<std::string>())};
    }
  } catch (const std::exception&) {  // absent, or not ours: files are looked at one by one
    commit_.clear();
    files_.clear();
  }
}

const Record::Known* Record::find(const std::string& path) const {
  const auto it = files_.find(path);
  if (it == files_.end()) return nullptr;
  std::error_code error;
  const uintmax_t size = fs::file_size(directory_ / path, error);
  return !error && size == static_cast<uintmax_t>(it->second.size) ? &it->second : nullptr;
}

void Record::save(const std::string& source, const std::string& commit) const {
  Json files = Json::object();
  for (const auto& [path, file] : files_)
    files[path] = {{"size", file.size}, {"checksum", file.checksum.text()}};
  write_json_file(directory_ / kRecord, {{"source", source}, {"commit", commit}, {"files", files}});
}

std::vector<Pulled> list_store(const fs::path& store) {
  const std::vector<Candidate> all = candidates(store);
  std::vector<Pulled> out;
  for (const Candidate& c : all) {
    const bool alone = std::ranges::count(all, c.name, &Candidate::name) == 1;
    out.push_back({alone ? c.name : c.owner + "/" + c.name, c.path});
  }
  return out;
}

fs::path find_in_store(const fs::path& store, const std::string& name) {
  std::vector<Candidate> found;
  const std::string stem = name.ends_with(".gguf") ? name.substr(0, name.size() - 5) : name;
  for (const Candidate& c : candidates(store)) {
    const std::string& wanted = c.path.extension() == ".gguf" ? stem : name;
    const bool same = wanted == c.name || wanted == c.owner + "/" + c.name;
    if (same && std::ranges::find(found, c.path, &Candidate::path) == found.end()) found.push_back(c);
  }
  if (found.empty()) return {};
  if (found.size() > 1) {
    std::string list;
    for (const Candidate& c : found)
      list += fmt::format("{}{}/{}", list.empty() ? "" : ", ", c.owner, c.name);
    fail("{}: several pulled models have that name; give one of: {}", name, list);
  }
  return found[0].path;
}

}  // namespace frugal::hub
