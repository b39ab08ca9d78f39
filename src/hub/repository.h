// A repository of a model hub: what is in it, and which of that a model needs.
#pragma once

#include <string>
#include <vector>

#include "hub/download.h"
#include "hub/source.h"

namespace frugal::hub {

struct Repository {
  std::string commit;             // that the revision stands for now
  std::vector<RemoteFile> files;  // safe paths only, no two the same; others are left out
};

// Asks `endpoint` (as "https://huggingface.co", which speaks for all that are compatible). Error for what is
// not there, not allowed, or no answer of a hub.
Repository list_repository(HttpClient& client, const std::string& endpoint, const Source& source,
                           const RetryPolicy& policy);

// The files of a pull: those that match `pattern`; without one, config, tokenizer and safetensors, or else
// the only GGUF file (with all parts of a split one). Python pickles and other programs' weights are left
// out. Error that lists what there is when nothing, or more than one GGUF, could be meant.
std::vector<RemoteFile> choose_files(const Repository& repository, const Source& source);

}  // namespace frugal::hub
