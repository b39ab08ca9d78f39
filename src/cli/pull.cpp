// frugal pull SOURCE: fetches a model from a hub or a URL into the user's store, where MODEL arguments find
// it by name.
#include "hub/pull.h"

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>

#include "cli/interrupt.h"
#include "cli/live_line.h"
#include "cli/model_store.h"
#include "cli/verbs.h"
#include "cli/version.h"
#include "core/error.h"
#include "core/interrupted.h"
#include "hub/store.h"
#include "meter/units.h"

namespace frugal::cli {
namespace {

struct PullArguments {
  CommonOptions common;
  std::string source, file, sha256;
  std::optional<std::string> store;
  int64_t attempts = 6;
  bool again = false;
};

using Clock = std::chrono::steady_clock;
double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// Draws a pull: the file, how much of all is there, how fast it comes and how long it will take.
class PullDisplay {
 public:
  explicit PullDisplay(const ProgressOptions& options) : line_(options) {}
  void show(const hub::PullProgress& progress) {
    const double now = seconds_since(start_);
    if (first_ < 0) first_ = progress.done;  // what an earlier pull left is no speed of this one
    if (!line_.due(now)) return;
    const double speed = static_cast<double>(progress.done - first_) / std::max(now, 1e-3);
    const bool known = progress.total > 0;
    const double fraction =
        known ? static_cast<double>(progress.done) / static_cast<double>(progress.total) : -1;
    std::string text = known ? fmt::format("{:3.0f} %  ", fraction * 100) : "";
    text += format_quantity(static_cast<double>(progress.done), "B");
    if (known) text += " of " + format_quantity(static_cast<double>(progress.total), "B");
    text += "  " + format_quantity(speed, "B/s");
    if (known && speed > 0)
      text += "  " + format_duration(static_cast<double>(progress.total - progress.done) / speed) + " left";
    if (progress.count > 1) text += fmt::format("  file {} of {}", progress.index + 1, progress.count);
    line_.show(progress.file, fraction, text);
  }

 private:
  LiveLine line_;
  Clock::time_point start_ = Clock::now();
  int64_t first_ = -1;
};

hub::PullOptions pull_options(const PullArguments& a, const Environment& environment) {
  hub::PullOptions options;
  options.store = a.store ? fs::path(*a.store) : model_store(environment);
  if (options.store.empty())
    fail(
        "no place for models: none of FRUGAL_MODELS, XDG_DATA_HOME, XDG_CACHE_HOME and HOME is set; give "
        "--store");
  if (!environment.hf_endpoint.empty()) options.endpoint = environment.hf_endpoint;
  options.token = environment.hf_token;
  options.ca_file = environment.ca_file;
  options.user_agent = fmt::format("frugal/{}", kVersion);
  options.sha256 = a.sha256;
  options.again = a.again;
  if (a.attempts < 1) fail_usage("--attempts {}: expected at least 1", a.attempts);
  options.retry.attempts = static_cast<int>(std::min<int64_t>(a.attempts, 1000));
  return options;
}

// The names by which MODEL arguments find what was pulled: the directory, or GGUF files in it.
std::vector<std::string> names_of(const fs::path& store, const hub::PullResult& result) {
  std::vector<std::string> names;
  for (const hub::Pulled& model : hub::list_store(store)) {
    const auto is_model = [&](const hub::PulledFile& file) {
      return model.path == result.directory || model.path == result.directory / file.path;
    };
    if (std::ranges::any_of(result.files, is_model)) names.push_back(model.name);
  }
  return names;
}

Json file_json(const hub::PulledFile& file) {
  return {{"path", file.path},
          {"bytes", file.size},
          {"checksum", file.checksum.text()},
          {"fetched", file.fetched}};
}

void pull(const PullArguments& a, const Environment& environment) {
  hub::Source source = hub::parse_source(a.source);
  if (!a.file.empty()) {
    if (source.is_url() || !source.pattern.empty())
      fail_usage("--file goes with hf:OWNER/NAME; one place for it is enough");
    source.pattern = a.file;
  }
  const Interrupt interrupt;
  hub::PullOptions options = pull_options(a, environment);
  options.stop = &interrupt.flag();
  const auto start = Clock::now();
  hub::PullResult result;
  {
    PullDisplay display(progress_options(a.common, environment));
    try {
      result = hub::pull(source, options, [&](const hub::PullProgress& progress) { display.show(progress); });
    } catch (const Interrupted&) {
      throw Interrupted("stopped; what came in is kept, run the same command to go on");
    }
  }
  const std::vector<std::string> names = names_of(options.store, result);
  int64_t bytes = 0;
  Json files = Json::array();
  for (const hub::PulledFile& file : result.files) {
    bytes += file.size;
    files.push_back(file_json(file));
  }
  if (a.common.json) {
    return print_json({{"names", names},
                       {"directory", result.directory.string()},
                       {"commit", result.commit},
                       {"bytes", bytes},
                       {"received_bytes", result.received},
                       {"seconds", seconds_since(start)},
                       {"files", files}});
  }
  const auto fetched = std::ranges::count_if(result.files, &hub::PulledFile::fetched);
  note(a.common, fmt::format("{}: {}, {} of {} files fetched, all checked", result.directory.string(),
                             format_quantity(static_cast<double>(bytes), "B"), fetched, result.files.size()));
  for (const std::string& name : names) print(name + "\n");
}

}  // namespace

void declare_pull(Command& command, const Environment& environment) {
  const auto a = std::make_shared<PullArguments>();
  a->common.declare(command);
  command.positional("SOURCE", a->source,
                     "hf:OWNER/NAME, hf:OWNER/NAME@REVISION, hf:OWNER/NAME:FILE (or a pattern), or a URL");
  command.option("--file", a->file, "Of the repository: one file, or a pattern with * and ?");
  command.option("--sha256", a->sha256, "What the SHA-256 of a URL's file must be");
  command.option("--store", a->store, "Where to (default: where names of models are looked up)");
  command.option("--attempts", a->attempts, "Failures in a row before giving up");
  command.flag("--again", a->again, "Fetch what is there, too");
  command.footer(
      "HF_ENDPOINT names another hub, HF_TOKEN is sent to it and to no other host; SSL_CERT_FILE names the "
      "certificates to trust. A pull that was cut short goes on where it was. Models are kept in "
      "FRUGAL_MODELS, else in frugal/models of XDG_DATA_HOME or "
      "~/.cache.");
  command.action([a, environment] { pull(*a, environment); });
}

}  // namespace frugal::cli
