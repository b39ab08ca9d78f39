// The folder of one run: recipe.toml (as resolved), log.jsonl, report.html, model/, state/. One process at a
// time may use it. What each stage needed and gave is kept in state/stages.json, so that the same command
// goes on where an earlier one ended. Nothing in it is overwritten by a run of another recipe.
#pragma once

#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/files.h"
#include "core/json.h"
#include "meter/bill.h"

namespace frugal {

struct StageRecord {
  StageRecord();
  StageRecord(std::string stage, std::string inputs_hash);

  std::string name;
  std::string inputs;  // hash of all it depends on
  bool done = false;   // false: begun, and perhaps to be resumed
  Bill bill;           // over all processes that worked on it
  Json result = Json::object();
};

class RunDirectory {
 public:
  // Makes the folder and locks it. Error when another process holds it, or when it has other things in it.
  explicit RunDirectory(fs::path path);
  ~RunDirectory();
  RunDirectory(const RunDirectory&) = delete;
  RunDirectory& operator=(const RunDirectory&) = delete;

  // Writes recipe.toml. When there is one and what it made is `precious`, a recipe that differs in a key that
  // starts with none of `free` is a UsageError naming that key.
  void adopt(const Json& recipe, const std::vector<std::string>& free, bool precious);

  const fs::path& path() const { return path_; }
  const std::vector<StageRecord>& stages() const { return stages_; }
  // Null when it never began.
  const StageRecord* find(std::string_view name) const;
  // Replaces or appends the record, and saves.
  void put(const StageRecord& record);

  // Appends a line to log.jsonl at once; Error when it cannot be written.
  void log(const Json& line);
  fs::path log_file() const { return path_ / "log.jsonl"; }

 private:
  void lock();
  void open_log();
  fs::path path_;
  int lock_ = -1, log_ = -1;
  std::vector<StageRecord> stages_;
};

// The records of a folder without locking it; empty when there are none. Error when they are damaged.
std::vector<StageRecord> read_stages(const fs::path& run);

// Of a run that learned from a teacher's cache: its part of what the cache cost ("teacher_share" of its
// training) less what the run itself spent on making it. Nothing without a cache.
std::optional<Share> cache_share(const std::vector<StageRecord>& stages);

// Plain values by dotted key; lists count as values.
std::map<std::string, Json> flatten(const Json& object);
// "train.batch = 16 there, 32 here" for the first key that differs and starts with none of `free`.
std::optional<std::string> first_difference(const Json& there, const Json& here,
                                            const std::vector<std::string>& free);

}  // namespace frugal
