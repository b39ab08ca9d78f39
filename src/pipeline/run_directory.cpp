#include "pipeline/run_directory.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "core/error.h"
#include "pipeline/toml.h"

namespace frugal {
namespace {

constexpr int64_t kStagesSchema = 1;
constexpr const char* kLock = ".run-lock";
constexpr const char* kRecipeNote =
    "# The recipe of this run as it was resolved: defaults, file and --set together. Written by frugal.\n\n";

Json to_json(const StageRecord& record) {
  return Json{{"name", record.name},
              {"inputs", record.inputs},
              {"done", record.done},
              {"bill", bill_json(record.bill)},
              {"result", record.result}};
}

StageRecord from_json(const Json& json, const std::string& where) {
  StageRecord record;
  try {
    record.name = json.at("name").get<std::string>();
    record.inputs = json.at("inputs").get<std::string>();
    record.done = json.at("done").get<bool>();
    record.result = json.at("result");
    read_fields(record.bill, json.at("bill"), where, UnknownKeys::ignore);
  } catch (const Json::exception& error) {
    fail("{}: damaged ({}); remove it to run the stages again", where, error.what());
  }
  return record;
}

bool is_run_directory(const fs::path& path) {
  return fs::exists(path / "recipe.toml") || fs::exists(path / kLock);
}

// A killed run may leave half a line; the next one must not continue it.
bool ends_inside_line(int log) {
  const off_t size = lseek(log, 0, SEEK_END);
  char last = '\n';
  return size > 0 && pread(log, &last, 1, size - 1) == 1 && last != '\n';
}

}  // namespace

StageRecord::StageRecord() = default;
StageRecord::StageRecord(std::string stage, std::string inputs_hash)
    : name(std::move(stage)), inputs(std::move(inputs_hash)) {}

RunDirectory::RunDirectory(fs::path path) : path_(std::move(path)) {
  std::error_code error;
  if (fs::exists(path_, error) && !fs::is_directory(path_, error)) {
    fail("output '{}' is a file; expected a folder for the run", path_.string());
  }
  if (fs::is_directory(path_, error) && !is_run_directory(path_) && !fs::is_empty(path_, error)) {
    fail("output '{}' is a folder with other things in it; choose a new or empty one", path_.string());
  }
  make_directories(path_);
  lock();
  try {
    stages_ = read_stages(path_);
    open_log();
  } catch (...) {
    close(lock_);
    throw;
  }
}

void RunDirectory::open_log() {
  log_ = open(log_file().c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (log_ < 0) fail("cannot write '{}': {}", log_file().string(), std::strerror(errno));
  if (ends_inside_line(log_) && write(log_, "\n", 1) != 1) {
    fail("cannot write '{}': {}", log_file().string(), std::strerror(errno));
  }
}

RunDirectory::~RunDirectory() {
  if (log_ >= 0) close(log_);
  if (lock_ >= 0) close(lock_);  // and so unlocks
}

void RunDirectory::lock() {
  const fs::path file = path_ / kLock;
  lock_ = open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (lock_ < 0) fail("cannot write '{}': {}", file.string(), std::strerror(errno));
  if (flock(lock_, LOCK_EX | LOCK_NB) != 0) {
    char holder[32] = {};
    const ssize_t bytes = pread(lock_, holder, sizeof holder - 1, 0);
    close(lock_);
    fail("output '{}' is in use by another run{}; wait for it or choose another output", path_.string(),
         bytes > 0
             ? fmt::format(" (process {})", std::string(holder).substr(0, std::string(holder).find('\n')))
             : "");
  }
  const std::string process = fmt::format("{}\n", getpid());
  if (ftruncate(lock_, 0) != 0 || pwrite(lock_, process.data(), process.size(), 0) < 0) {
    const int reason = errno;
    close(lock_);
    fail("cannot write '{}': {}", file.string(), std::strerror(reason));
  }
}

void RunDirectory::adopt(const Json& recipe, const std::vector<std::string>& free, bool precious) {
  const fs::path file = path_ / "recipe.toml";
  if (precious && fs::exists(file)) {
    if (const auto difference = first_difference(read_toml_file(file).values, recipe, free)) {
      fail_usage(
          "output '{}' holds a run of another recipe ({}); choose another output or remove that folder",
          path_.string(), *difference);
    }
  }
  write_file_atomically(file, kRecipeNote + to_toml(recipe));
}

const StageRecord* RunDirectory::find(std::string_view name) const {
  const auto it =
      std::find_if(stages_.begin(), stages_.end(), [&](const StageRecord& r) { return r.name == name; });
  return it == stages_.end() ? nullptr : &*it;
}

void RunDirectory::put(const StageRecord& record) {
  const auto it = std::find_if(stages_.begin(), stages_.end(),
                               [&](const StageRecord& r) { return r.name == record.name; });
  if (it == stages_.end()) {
    stages_.push_back(record);
  } else {
    *it = record;
  }
  Json list = Json::array();
  for (const StageRecord& stage : stages_) list.push_back(to_json(stage));
  write_json_file(path_ / "stages.json", Json{{"schema", kStagesSchema}, {"stages", std::move(list)}});
}

void RunDirectory::log(const Json& line) {
  const std::string text = to_text(line) + "\n";
  size_t done = 0;
  while (done < text.size()) {
    const ssize_t bytes = write(log_, text.data() + done, text.size() - done);
    if (bytes < 0 && errno == EINTR) continue;
    if (bytes < 0) fail("cannot write '{}': {}", log_file().string(), std::strerror(errno));
    done += static_cast<size_t>(bytes);
  }
}

std::vector<StageRecord> read_stages(const fs::path& run) {
  const fs::path file = run / "stages.json";
  std::vector<StageRecord> stages;
  if (!fs::exists(file)) return stages;
  const Json json = read_json_file(file);
  const auto schema = json.find("schema");
  if (schema == json.end() || !schema->is_number_integer() || !json.contains("stages")) {
    fail("{}: damaged; remove it to run the stages again", file.string());
  }
  if (schema->get<int64_t>() > kStagesSchema) fail("{}: written by a newer frugal", file.string());
  for (const Json& stage : json.at("stages")) stages.push_back(from_json(stage, file.string()));
  return stages;
}

std::optional<Share> cache_share(const std::vector<StageRecord>& stages) {
  std::optional<Share> share;
  Bill made;
  for (const StageRecord& stage : stages) {
    if (stage.name == "teacher" && !stage.result.value("made_before", false)) made = stage.bill;
    if (!stage.result.contains("teacher_share")) continue;
    Bill part;
    part.dollars = stage.result["teacher_share"].value("dollars", 0.0);
    part.co2_g = stage.result["teacher_share"].value("co2_g", 0.0);
    read_fields(part.joules, stage.result["teacher_share"].value("joules", Json::object()), "teacher_share");
    share.emplace().add(part, 1);
  }
  if (share) share->add(made, -1);
  return share;
}

std::map<std::string, Json> flatten(const Json& object) {
  std::map<std::string, Json> flat;
  for (const auto& [key, value] : object.items()) {
    if (value.is_object()) {
      for (auto& [inner, leaf] : flatten(value)) flat[key + "." + inner] = leaf;
    } else if (!value.is_null()) {
      flat[key] = value;
    }
  }
  return flat;
}

std::optional<std::string> first_difference(const Json& there, const Json& here,
                                            const std::vector<std::string>& free) {
  const auto a = flatten(there), b = flatten(here);
  std::map<std::string, std::pair<const Json*, const Json*>> keys;
  for (const auto& [key, value] : a) keys[key].first = &value;
  for (const auto& [key, value] : b) keys[key].second = &value;
  const auto shown = [](const Json* value) {
    return value == nullptr ? std::string("unset") : to_text(*value);
  };
  for (const auto& [key, pair] : keys) {
    if (std::any_of(free.begin(), free.end(), [&](const std::string& f) { return key.starts_with(f); }))
      continue;
    const bool equal = pair.first != nullptr && pair.second != nullptr && *pair.first == *pair.second;
    if (!equal) return fmt::format("{} = {} there, {} here", key, shown(pair.first), shown(pair.second));
  }
  return std::nullopt;
}

}  // namespace frugal
