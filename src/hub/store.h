// Where pulled models are: STORE/OWNER/NAME/, a directory in Hugging Face layout or one that holds GGUF
// files. .frugal.json in it says where every file came from.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "hub/checksum.h"
#include "hub/source.h"

namespace frugal::hub {

// STORE/OWNER/NAME, or NAME@REVISION for another revision than main; for a URL the host takes the owner's
// place and the file's name without its ending the model's.
fs::path directory_for(const fs::path& store, const Source& source);

// What is known of the files of one model.
class Record {
 public:
  explicit Record(const fs::path& directory);  // an unreadable record counts as none
  struct Known {
    int64_t size = 0;
    Checksum checksum;
  };
  // Null when `path` is unknown, or the file there has another size.
  const Known* find(const std::string& path) const;
  const std::string& commit() const { return commit_; }
  void set(const std::string& path, const Known& file) { files_[path] = file; }
  void save(const std::string& source, const std::string& commit) const;

 private:
  fs::path directory_;
  std::string commit_;
  std::map<std::string, Known> files_;
};

// What a MODEL argument may say of what is in the store, and the path to load: the directory, or the GGUF
// file.
struct Pulled {
  std::string name;  // the shortest that finds it alone: "NAME", else "OWNER/NAME"
  fs::path path;
};
// All models, by name. An absent store is an empty one.
std::vector<Pulled> list_store(const fs::path& store);
// NAME, OWNER/NAME, or the name of a GGUF file, with or without its ending. Empty when there is none; Error
// when several could be meant.
fs::path find_in_store(const fs::path& store, const std::string& name);

}  // namespace frugal::hub
