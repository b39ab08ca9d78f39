#include "cli/profile_report.h"

#include <cstdio>
#include <nlohmann/json.hpp>

#include "core/error.h"

namespace frugal::cli {
namespace {

double share(double part, double whole) {
  return whole > 0 ? part / whole : 0;
}

// Of the threads' time while several had work: the part in which they waited for it or for each other.
double idle_share(const PoolTimes& pool, int threads) {
  return pool.seconds > 0 ? std::max(0.0, 1 - pool.busy / (pool.seconds * threads)) : 0;
}

std::string rate(double amount, double seconds) {
  return amount > 0 && seconds > 0 ? fmt::format("{:.1f}", amount / seconds * 1e-9) : "-";
}

}  // namespace

void ProfileFlag::declare(Command& command) {
  command.flag("--profile", on_, "Also report where the time goes, op by op");
}

void ProfileFlag::start(Context& ctx) {
  if (!on_) return;
  profile_ = std::make_shared<Profile>(ctx.pool);
  ctx.profile = profile_.get();
}

void ProfileFlag::finish(Context& ctx, const CommonOptions& common, Json* report) {
  if (!profile_) return;
  const std::vector<Profile::Phase> phases = profile_->phases();
  ctx.profile = nullptr;
  profile_.reset();
  if (common.json && report != nullptr) {
    (*report)["profile"] = profile_json(phases, ctx.pool.size());
    return;
  }
  for (const Profile::Phase& phase : phases)
    std::fputs(profile_table(phase, ctx.pool.size()).c_str(), stderr);
}

std::string profile_table(const Profile::Phase& phase, int threads) {
  std::string out =
      fmt::format("\n{:<24}{:>10}{:>12}{:>8}{:>10}{:>8}\n", phase.name.empty() ? "op" : phase.name, "calls",
                  "ms", "%", "GFLOP/s", "GB/s");
  for (const Profile::Op& op : phase.ops) {
    out += fmt::format("{:<24}{:>10}{:>12.2f}{:>8.1f}{:>10}{:>8}\n", op.name, op.calls, op.seconds * 1e3,
                       100 * share(op.seconds, phase.seconds), rate(op.flops, op.seconds),
                       rate(op.bytes, op.seconds));
  }
  out += fmt::format("{:.1f}% of {:.2f} ms is in these ops\n", 100 * share(phase.accounted(), phase.seconds),
                     phase.seconds * 1e3);
  if (threads > 1) {
    out += fmt::format(
        "{} parallel jobs, {:.2f} ms: threads without work {:.1f}% of it, the caller waited {:.2f} ms\n",
        phase.pool.jobs, phase.pool.seconds * 1e3, 100 * idle_share(phase.pool, threads),
        phase.pool.waiting * 1e3);
  }
  return out;
}

Json profile_json(const std::vector<Profile::Phase>& phases, int threads) {
  Json all = Json::array();
  for (const Profile::Phase& phase : phases) {
    Json ops = Json::array();
    for (const Profile::Op& op : phase.ops) {
      ops.push_back({{"op", op.name},
                     {"calls", op.calls},
                     {"seconds", op.seconds},
                     {"share", share(op.seconds, phase.seconds)},
                     {"flops", op.flops},
                     {"bytes", op.bytes}});
    }
    all.push_back({{"phase", phase.name},
                   {"seconds", phase.seconds},
                   {"accounted", share(phase.accounted(), phase.seconds)},
                   {"parallel_jobs", phase.pool.jobs},
                   {"parallel_seconds", phase.pool.seconds},
                   {"idle_share", idle_share(phase.pool, threads)},
                   {"caller_waited_seconds", phase.pool.waiting},
                   {"ops", ops}});
  }
  return all;
}

}  // namespace frugal::cli
