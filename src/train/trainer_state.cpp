// What a trainer saves and reads back: snapshots for the background writer, state.json, resuming, rolling
// back.
#include <cstring>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "train/trainer.h"

namespace frugal {
namespace {

constexpr int kStateVersion = 1;

struct SavedState {
  int64_t version = kStateVersion;
  int64_t step = 0, tokens = 0, rollbacks = 0;
  std::string optimizer;
  int64_t optimizer_steps = 0;
  Spending spent;

  void visit(FieldVisitor& v) {
    v.field("version", version, "of this file's layout");
    v.field("step", step, "finished steps");
    v.field("tokens", tokens, "tokens trained on");
    v.field("rollbacks", rollbacks, "");
    v.field("optimizer", optimizer, "its name");
    v.field("optimizer_steps", optimizer_steps, "its updates");
    v.field("spent", spent, "of the budget");
  }
};

const Json& part(const Json& state, const char* name, const std::string& where) {
  const auto found = state.find(name);
  if (found == state.end()) fail("{}: '{}' is missing", where, name);
  return *found;
}

SavedState read_state(const Json& state, const std::string& where) {
  SavedState saved;
  saved.version = 0;
  saved.step = -1;
  read_fields(saved, state, where, UnknownKeys::ignore);
  if (saved.version != kStateVersion) {
    fail("{}: has layout {}, this program reads {}: resume with the version that wrote it", where,
         saved.version, kStateVersion);
  }
  if (saved.step < 0 || saved.tokens < 0 || saved.optimizer_steps < 0)
    fail("{}: damaged: negative counts", where);
  return saved;
}

void require_same_config(const Json& saved, const Json& ours, const fs::path& directory) {
  if (saved == ours) return;
  std::string difference = "other keys";
  for (const auto& [key, value] : ours.items()) {
    const auto found = saved.find(key);
    if (found == saved.end() || *found != value) {
      difference = fmt::format("{} is {} there and {} here", key,
                               found == saved.end() ? "absent" : to_text(*found), to_text(value));
      break;
    }
  }
  fail(
      "{}: the checkpoint is of another model ({}); resume with the recipe it was made by, or choose another "
      "output",
      directory.string(), difference);
}

}  // namespace

std::string Trainer::state_text() const {
  const SavedState saved{kStateVersion,     step_,  tokens_, rollbacks_, options_.optimizer.name,
                         optimizer_->steps, spent()};
  Json state = write_fields(saved);
  state["data"] = data_.state();
  state["plan"] = plan_.save();
  state["losses"] = spikes_.save();
  state["options"] = write_fields(options_);
  state["extra"] = parse_json(hooks_.extra, "extra state");
  return to_text(state, 1) + "\n";
}

// Every parameter and buffer, under the config that io's save_model writes.
static SavedModel whole_model(Model& model, const std::map<std::string, std::string>& files) {
  SavedModel saved;
  EachParameter each([&](const std::string& name, Tensor& value, const ParameterInfo&) {
    if (value.format().safetensors.empty()) {
      fail("{} is stored as {}, which a checkpoint cannot hold: load the model as f32", name,
           value.format().name);
    }
    saved.weights.push_back({name, value});
  });
  model.visit(each);
  Json config = model.config();
  config["torch_dtype"] = "float32";
  config.erase("dtype");
  config.erase("quantization_config");
  saved.config = to_text(config, 2) + "\n";
  saved.files = files;
  return saved;
}

void Trainer::prepare_snapshot() {
  saved_ = hooks_.saved ? *hooks_.saved : whole_model(model_, hooks_.model_files);
  snapshot_.model = saved_;
  for (NamedTensor& weight : snapshot_.model.weights) {
    weight.value = Tensor::empty(ctx_, weight.value.shape(), weight.value.format());
  }
  optimizer_->visit_state([&](const std::string& name, Tensor& value) {
    snapshot_.optimizer.push_back({name, Tensor::empty(ctx_, value.shape())});
  });
}

void Trainer::take_snapshot() {
  const auto copy = [&](NamedTensor& to, const Tensor& from) {
    ctx_.pool.parallel_for(from.bytes(), 1 << 22, [&](int64_t begin, int64_t end, int) {
      std::memcpy(to.value.data() + begin, from.data() + begin, static_cast<size_t>(end - begin));
    });
  };
  for (size_t i = 0; i < saved_.weights.size(); ++i)
    copy(snapshot_.model.weights.at(i), saved_.weights[i].value);
  size_t next = 0;
  optimizer_->visit_state(
      [&](const std::string&, Tensor& value) { copy(snapshot_.optimizer.at(next++), value); });
  snapshot_.step = step_;
  snapshot_.state = state_text();
}

bool Trainer::save_due() const {
  if (!store_) return false;
  if (options_.save_every > 0 && step_ % options_.save_every == 0) return true;
  const double since = spent().seconds - saved_at_;
  return options_.save_minutes > 0 && since >= options_.save_minutes * 60 && !store_->busy();
}

void Trainer::save(bool wait) {
  store_->wait();
  if (saved_step_ != step_) {
    take_snapshot();
    store_->begin(snapshot_);
    saved_step_ = step_;
    saved_at_ = spent().seconds;
    tell(TrainEvent::Kind::checkpoint, fmt::format("checkpoint of step {}", step_));
  }
  if (wait) store_->wait();
}

void Trainer::load_tensors(const Checkpoint& checkpoint) {
  for (NamedTensor& weight : saved_.weights) checkpoint.load_weight(weight.name, weight.value);
  optimizer_->visit_state(
      [&](const std::string& name, Tensor& value) { checkpoint.load_optimizer(name, value); });
}

bool Trainer::resume() {
  if (!store_) return false;
  const auto latest = store_->latest();
  if (!latest) return false;
  const Checkpoint checkpoint(*latest, saved_);
  const std::string where = (*latest / "state" / "state.json").string();
  const Json& state = checkpoint.state();
  const SavedState saved = read_state(state, where);
  if (saved.optimizer != options_.optimizer.name) {
    fail(
        "{}: the state is that of optimizer {}, the recipe asks for {}; keep it, or choose another output "
        "with init = "
        "the model",
        where, saved.optimizer, options_.optimizer.name);
  }
  require_same_config(checkpoint.config(), parse_json(saved_.config, "config"), *latest);
  load_tensors(checkpoint);
  data_.restore(part(state, "data", where), where);
  plan_.restore(part(state, "plan", where), saved.step, saved.spent, where);
  spikes_.restore(part(state, "losses", where), where);
  optimizer_->steps = saved.optimizer_steps;
  step_ = saved_step_ = saved.step;
  tokens_ = saved.tokens;
  rollbacks_ = saved.rollbacks;
  spent_before_ = saved.spent - hooks_.spent();
  saved_at_ = saved.spent.seconds;
  evaluations_done_ = static_cast<int64_t>(plan_.progress(step_) * static_cast<double>(options_.evaluations));
  told_revisions_ = plan_.revisions().size();
  resumed_extra_ = to_text(part(state, "extra", where));
  tell(TrainEvent::Kind::resumed, fmt::format("resumed at step {} from {}", step_, latest->string()));
  return true;
}

// Back to the last checkpoint, but not to its place in the data: the same batches would bring the same spike.
void Trainer::roll_back(const std::string& what) {
  store_->wait();
  const auto latest = store_->latest();
  CHECK(latest.has_value());
  const Checkpoint checkpoint(*latest, saved_);
  const std::string where = (*latest / "state" / "state.json").string();
  const SavedState saved = read_state(checkpoint.state(), where);
  load_tensors(checkpoint);
  spikes_.restore(part(checkpoint.state(), "losses", where), where);
  optimizer_->steps = saved.optimizer_steps;
  step_ = saved.step;
  tokens_ = saved.tokens;
  plan_.replan(step_, spent(), "rollback");
  saved_step_ =
      -1;  // the next checkpoint differs from the last one in its data position, even at the same step
  tell(TrainEvent::Kind::rollback, fmt::format("{}: back to step {}", what, step_),
       static_cast<double>(step_));
}

}  // namespace frugal
