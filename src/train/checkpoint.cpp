#include "train/checkpoint.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "data/hash.h"
#include "io/hf_weights.h"

namespace frugal {
namespace {

constexpr std::string_view kTemporary = ".tmp";

std::string hash_file(const fs::path& path, uint64_t& bytes) {
  const MappedFile file(path);
  bytes = file.bytes().size();
  return hash128(file.text()).hex();
}

void write_tensors(const fs::path& path, const std::vector<NamedTensor>& tensors) {
  std::vector<SafetensorsDeclaration> declared;
  std::map<std::string, const Tensor*> by_name;
  for (const auto& [name, value] : tensors) {
    declared.push_back({name, std::string(value.format().safetensors), value.shape()});
    by_name[name] = &value;
  }
  SafetensorsWriter writer(path, std::move(declared));
  for (const SafetensorsDeclaration& next : writer.order()) {
    const Tensor& value = *by_name.at(next.name);
    writer.write(next.name, {value.data(), static_cast<size_t>(value.bytes())});
  }
  writer.commit();
}

void write_weights(const fs::path& path, const SavedModel& model) {
  if (!model.parameters) return write_tensors(path, model.weights);
  std::vector<HfTensor> tensors;
  for (const auto& [name, value] : model.weights) tensors.push_back({name, &value, &value.format()});
  write_hf_weights(path, tensors, parse_json(model.config, "config.json"));
}

// Size and hash of every file of the model and of state/, so that loading can tell damage from data.
void write_file_list(const fs::path& directory, const std::string& folder) {
  Json list = Json::object();
  for (const std::string& part : {folder, std::string("state")}) {
    std::vector<fs::path> paths;
    for (const auto& entry : fs::directory_iterator(directory / part)) paths.push_back(entry.path());
    std::sort(paths.begin(), paths.end());
    for (const fs::path& path : paths) {
      uint64_t bytes = 0;
      const std::string hash = hash_file(path, bytes);
      list[fs::path(part) / path.filename()] = {{"bytes", bytes}, {"hash", hash}};
    }
  }
  write_json_file(directory / "state" / "files.json", list);
}

void verify_file_list(const fs::path& directory) {
  const fs::path list_path = directory / "state" / "files.json";
  const Json list = read_json_file(list_path);
  if (!list.is_object() || !list.contains("state/state.json"))
    fail("{}: damaged: not a list of files", list_path.string());
  for (const auto& [name, expected] : list.items()) {
    const fs::path path = directory / name;
    if (!expected.is_object() || !expected.value("bytes", Json()).is_number_unsigned() ||
        !expected.value("hash", Json()).is_string()) {
      fail("{}: damaged entry for {}", list_path.string(), name);
    }
    uint64_t bytes = 0;
    const std::string hash = hash_file(path, bytes);
    if (bytes != expected["bytes"].get<uint64_t>()) {
      fail("{}: has {} bytes, was written with {}: the checkpoint is damaged", path.string(), bytes,
           expected["bytes"].get<uint64_t>());
    }
    if (hash != expected["hash"].get<std::string>()) {
      fail("{}: its content was altered since it was written: the checkpoint is damaged", path.string());
    }
  }
}

int64_t serial_of(const std::string& name) {
  return std::strtoll(name.c_str(), nullptr, 10);
}

void make_link(const fs::path& link, const fs::path& target) {
  std::error_code error;
  if (fs::is_symlink(link) && fs::read_symlink(link, error) == target) return;
  if (fs::exists(fs::symlink_status(link)) && !fs::is_symlink(link)) {
    fail("{}: exists and is no link of a training run; choose another output directory", link.string());
  }
  fs::path temporary = link;
  temporary += kTemporary;
  fs::remove(temporary, error);
  fs::create_directory_symlink(target, temporary, error);
  if (!error) fs::rename(temporary, link, error);
  if (error) fail("{}: cannot create the link: {}", link.string(), error.message());
}

}  // namespace

int64_t Snapshot::bytes() const {
  int64_t sum = 0;
  for (const auto* list : {&model.weights, &optimizer}) {
    for (const NamedTensor& tensor : *list) sum += tensor.value.bytes();
  }
  return sum;
}

CheckpointStore::CheckpointStore(fs::path run, int64_t keep_last)
    : run_(std::move(run)), keep_last_(keep_last) {
  make_directories(run_ / "checkpoints");
  const fs::path lock = run_ / ".lock";
  lock_ = ::open(lock.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (lock_ < 0) fail("{}: cannot write: {}", lock.string(), std::strerror(errno));
  if (::flock(lock_, LOCK_EX | LOCK_NB) != 0) {
    ::close(lock_);
    fail("{}: another process is training into this directory; choose another output", run_.string());
  }
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(run_ / "checkpoints")) {
    if (entry.path().extension() == kTemporary) fs::remove_all(entry.path(), error);
  }
}

CheckpointStore::~CheckpointStore() {
  if (thread_.joinable()) thread_.join();
  ::close(lock_);
}

std::optional<fs::path> CheckpointStore::latest() const {
  std::error_code error;
  const fs::path target = fs::read_symlink(run_ / "latest", error);
  if (error) return std::nullopt;
  return run_ / target;
}

std::vector<std::string> CheckpointStore::names() const {
  std::vector<std::string> list;
  for (const auto& entry : fs::directory_iterator(run_ / "checkpoints")) {
    const std::string name = entry.path().filename().string();
    if (entry.path().extension() != kTemporary && serial_of(name) > 0) list.push_back(name);
  }
  std::sort(list.begin(), list.end(),
            [](const std::string& a, const std::string& b) { return serial_of(a) < serial_of(b); });
  return list;
}

void CheckpointStore::begin(const Snapshot& snapshot) {
  CHECK(!thread_.joinable(), "wait() comes first");
  done_ = false;
  thread_ = std::thread([this, &snapshot] {
    const auto start = std::chrono::steady_clock::now();
    try {
      write(snapshot);
    } catch (...) {
      error_ = std::current_exception();
    }
    seconds_ = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    done_ = true;
  });
}

void CheckpointStore::wait() {
  if (thread_.joinable()) thread_.join();
  if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
}

void CheckpointStore::check() {
  if (thread_.joinable() && done_) wait();
}

void CheckpointStore::write(const Snapshot& snapshot) {
  const std::vector<std::string> before = names();
  const int64_t serial = before.empty() ? 1 : serial_of(before.back()) + 1;
  const std::string name = fmt::format("{:04}-step-{}", serial, snapshot.step);
  const fs::path directory = run_ / "checkpoints" / name;
  fs::path temporary = directory;
  temporary += kTemporary;
  std::error_code error;
  try {
    const SavedModel& model = snapshot.model;
    const fs::path folder = temporary / model.folder;
    make_directories(folder);
    make_directories(temporary / "state");
    write_file_atomically(folder / model.config_file, model.config);
    for (const auto& [file, content] : model.files) write_file_atomically(folder / file, content);
    write_weights(folder / model.weights_file, model);
    write_tensors(temporary / "state" / "optimizer.safetensors", snapshot.optimizer);
    write_file_atomically(temporary / "state" / "state.json", snapshot.state);
    write_file_list(temporary, model.folder);
    sync_directory(temporary);
    fs::rename(temporary, directory, error);
    if (error) fail("{}: cannot rename: {}", temporary.string(), error.message());
    sync_directory(run_ / "checkpoints");
    point_latest_to(name, model.folder);
  } catch (const Error& failure) {
    fs::remove_all(temporary, error);  // gives a full disk its room back
    const std::string kept =
        before.empty() ? "there is no earlier one" : fmt::format("{} is unharmed", before.back());
    fail(
        "the checkpoint of step {} could not be written ({}); {}: free the disk or fix the cause, then "
        "resume",
        snapshot.step, failure.what(), kept);
  }
  prune();
}

void CheckpointStore::point_latest_to(const std::string& name, const std::string& folder) {
  make_link(run_ / folder, fs::path("latest") / folder);
  make_link(run_ / "state", "latest/state");
  make_link(run_ / "latest", fs::path("checkpoints") / name);
  sync_directory(run_);
}

void CheckpointStore::prune() {
  const std::vector<std::string> all = names();
  const auto kept = static_cast<size_t>(keep_last_);
  std::error_code error;
  for (size_t i = 0; i + kept < all.size(); ++i) fs::remove_all(run_ / "checkpoints" / all[i], error);
}

static const fs::path& verified(const fs::path& directory) {
  verify_file_list(directory);
  return directory;
}

Checkpoint::Checkpoint(const fs::path& directory, const SavedModel& layout)
    : directory_(verified(directory)) {
  const fs::path folder = directory / layout.folder;
  if (!fs::exists(folder / layout.config_file)) {
    fail("{}: the checkpoint has no {}/: it was made by another kind of training; choose another output",
         directory.string(), layout.folder);
  }
  state_ = std::make_unique<Json>(read_json_file(directory / "state" / "state.json"));
  config_ = std::make_unique<Json>(read_json_file(folder / layout.config_file));
  optimizer_ = std::make_unique<SafetensorsFile>(directory / "state" / "optimizer.safetensors");
  if (layout.parameters) {
    model_ = std::make_unique<SafetensorsDirectory>(folder);
    parameters_ = std::make_unique<HfWeights>(*model_, *config_);
  } else {
    weights_ = std::make_unique<SafetensorsFile>(folder / layout.weights_file);
  }
}

Checkpoint::~Checkpoint() = default;

void Checkpoint::load_weight(const std::string& name, Tensor& to) const {
  if (weights_) return load(weights_->find(name), name, to);
  if (!parameters_->copy_slice(name, to)) load(model_->find(name), name, to);
}

void Checkpoint::load_optimizer(const std::string& name, Tensor& to) const {
  load(optimizer_->find(name), name, to);
}

void Checkpoint::load(const SafetensorsEntry* entry, const std::string& name, Tensor& to) const {
  if (entry == nullptr) fail("{}: has no tensor '{}'", directory_.string(), name);
  if (entry->shape != to.shape() || entry->dtype != to.format().safetensors) {
    fail("{}: '{}' is {} {}, expected {} {}", directory_.string(), name, entry->dtype,
         to_string(entry->shape), to.format().safetensors, to_string(to.shape()));
  }
  std::memcpy(to.data(), entry->data.data(), entry->data.size());
}

}  // namespace frugal
