#include "cli/model_store.h"

namespace frugal::cli {

fs::path model_store(const Environment& environment) {
  if (!environment.models.empty()) return environment.models;
  if (!environment.data_home.empty()) return fs::path(environment.data_home) / "frugal" / "models";
  if (!environment.cache_home.empty()) return fs::path(environment.cache_home) / "frugal" / "models";
  if (!environment.home.empty()) return fs::path(environment.home) / ".cache" / "frugal" / "models";
  return {};
}

}  // namespace frugal::cli
