// Reads records on a thread of its own and hands them over in batches, at most kBatches ahead, so that memory
// is bounded: about kBatchBytes (or one longer record) per batch.
#pragma once

#include <condition_variable>
#include <deque>
#include <exception>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "data/source.h"

namespace frugal {

class RecordQueue {
 public:
  static constexpr size_t kBatches = 2, kBatchBytes = 4 << 20, kBatchRecords = 4096;
  RecordQueue(std::vector<std::string> files, ReadOptions options);
  ~RecordQueue();
  RecordQueue(const RecordQueue&) = delete;
  RecordQueue& operator=(const RecordQueue&) = delete;

  struct Batch {
    std::vector<Record> records;
    int64_t consumed = 0;  // bytes of the files read up to the end of this batch
  };
  // False at the end. An Error of the reader is thrown after all records before it were handed over.
  bool next(Batch& batch);

 private:
  void work();
  void put(Batch&& batch);
  RecordReader reader_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Batch> ready_;
  bool done_ = false, stop_ = false;
  std::exception_ptr error_;
  std::thread thread_;
};

}  // namespace frugal
