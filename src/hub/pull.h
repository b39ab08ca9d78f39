// Fetches a model into the store.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "hub/download.h"
#include "hub/source.h"

namespace frugal::hub {

struct PullOptions {
  fs::path store;
  std::string endpoint = "https://huggingface.co";  // of hf: sources
  std::string token;                                // for `endpoint` only
  std::string ca_file;                              // as net::HttpOptions has it
  std::string user_agent = "frugal";
  std::string sha256;  // of a URL's file, where its user knows it
  bool again = false;  // fetch what is there, too
  RetryPolicy retry;
  double connect_seconds = 20, stall_seconds = 30;
  const std::atomic<bool>* stop = nullptr;
};

// How far the whole pull is.
struct PullProgress {
  std::string file;
  size_t index = 0, count = 0;  // this file is number `index` (from 0) of `count`
  int64_t done = 0, total = 0;  // bytes of all files; total 0: not known
};

struct PulledFile {
  std::string path;
  int64_t size = 0;
  Checksum checksum;
  bool fetched = false;  // else it was there, whole
};
struct PullResult {
  fs::path directory;
  std::string commit;  // empty for URLs
  std::vector<PulledFile> files;
  int64_t received = 0;  // bytes over the network
};

// Files that are there with the right checksum are left alone; so is a URL's file, whatever the server has by
// now. UsageError and Error as list_repository(), choose_files() and download() say.
PullResult pull(const Source& source, const PullOptions& options,
                const std::function<void(const PullProgress&)>& progress);

}  // namespace frugal::hub
