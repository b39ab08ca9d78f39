// Checkpoints of a run directory:
//
//   checkpoints/0007-step-1200/model/   Hugging Face layout: config.json, model.safetensors, tokenizer files
//                             /state/   state.json, optimizer.safetensors, files.json (size and hash of every
//                             file)
//   latest -> checkpoints/0007-step-1200
//   model  -> latest/model,  state -> latest/state
//
// (adapter/ in place of model/ where adapters are trained: SavedModel says what is kept and how it is
// called.) A checkpoint is written as NAME.tmp, every file fsynced, renamed, and only then named by `latest`,
// itself replaced by one rename. So whatever happens at any moment, `model` and `state` belong together and
// are whole, or do not exist yet.
#pragma once

#include <atomic>
#include <cstdint>
#include <exception>
#include <map>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "core/files.h"
#include "core/json.h"
#include "io/safetensors.h"
#include "tensor/tensor.h"

namespace frugal {

class HfWeights;  // io/hf_weights.h

struct NamedTensor {
  std::string name;
  Tensor value;
};

// The folder that a training makes: what is trained and all that is needed to use it.
struct SavedModel {
  std::string folder = "model", config_file = "config.json", weights_file = "model.safetensors";
  std::string config;                        // text of config_file
  std::map<std::string, std::string> files;  // further files, by name
  std::vector<NamedTensor> weights;
  bool parameters = true;  // the weights are a model's, stored as its family stores them; else by their names
};

// All that is written; nobody else may touch the tensors until it is.
struct Snapshot {
  int64_t step = 0;
  SavedModel model;
  std::vector<NamedTensor> optimizer;  // f32
  std::string state;                   // state/state.json

  int64_t bytes() const;  // of the tensors
};

class CheckpointStore {
 public:
  // Takes the run directory for this process (Error when another one trains into it) and removes what an
  // interrupted write has left. Keeps the `keep_last` newest checkpoints.
  CheckpointStore(fs::path run, int64_t keep_last);
  ~CheckpointStore();  // waits for a write in progress; its failure is then lost
  CheckpointStore(const CheckpointStore&) = delete;
  CheckpointStore& operator=(const CheckpointStore&) = delete;

  // The directory that `latest` names, if any.
  std::optional<fs::path> latest() const;
  // Writes in the background. wait() must have returned since the last call.
  void begin(const Snapshot& snapshot);
  // Until the write is done; Error when it failed (full disk): earlier checkpoints are as they were.
  void wait();
  // Throws as wait() if a write has failed; does not block.
  void check();
  bool busy() const { return thread_.joinable() && !done_; }
  double seconds() const { return seconds_; }  // that the last finished write took

 private:
  void write(const Snapshot& snapshot);
  void point_latest_to(const std::string& name, const std::string& folder);
  void prune();
  std::vector<std::string> names() const;  // of complete checkpoints, oldest first

  fs::path run_;
  int64_t keep_last_;
  int lock_ = -1;
  std::thread thread_;
  std::atomic<bool> done_{true};
  std::exception_ptr error_;
  std::atomic<double> seconds_ = 0;
};

// A checkpoint read back and verified: Error when a file is missing, truncated or altered.
class Checkpoint {
 public:
  // `layout`: how its folder and files are called; Error when it is of another kind.
  explicit Checkpoint(const fs::path& directory, const SavedModel& layout = {});
  ~Checkpoint();
  const fs::path& directory() const { return directory_; }
  const Json& state() const { return *state_; }
  const Json& config() const { return *config_; }
  // Copies into `to` (f32); Error when there is no such tensor or its shape differs.
  void load_weight(const std::string& name, Tensor& to) const;
  void load_optimizer(const std::string& name, Tensor& to) const;

 private:
  void load(const SafetensorsEntry* entry, const std::string& name, Tensor& to) const;

  fs::path directory_;
  std::unique_ptr<Json> state_, config_;
  std::unique_ptr<SafetensorsFile> optimizer_;
  std::unique_ptr<SafetensorsDirectory> model_;
  std::unique_ptr<HfWeights> parameters_;     // in model_
  std::unique_ptr<SafetensorsFile> weights_;  // of what is no model's parameters; else null
};

}  // namespace frugal
