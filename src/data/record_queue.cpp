#include "data/record_queue.h"

#include <utility>

namespace frugal {

RecordQueue::RecordQueue(std::vector<std::string> files, ReadOptions options)
    : reader_(std::move(files), options) {
  thread_ = std::thread([this] { work(); });
}

RecordQueue::~RecordQueue() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void RecordQueue::put(Batch&& batch) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return stop_ || ready_.size() < kBatches; });
  batch.consumed = reader_.consumed();
  ready_.push_back(std::move(batch));
  changed_.notify_all();
}

void RecordQueue::work() {
  Batch batch;
  std::exception_ptr error;
  try {
    size_t bytes = 0;
    for (Record record; reader_.next(record);) {
      bytes += record.body.size();
      batch.records.push_back(std::move(record));
      if (bytes < kBatchBytes && batch.records.size() < kBatchRecords) continue;
      put(std::exchange(batch, {}));
      bytes = 0;
      const std::lock_guard lock(mutex_);
      if (stop_) break;
    }
  } catch (...) {
    error = std::current_exception();
  }
  if (!batch.records.empty()) put(std::move(batch));
  const std::lock_guard lock(mutex_);
  error_ = error;
  done_ = true;
  changed_.notify_all();
}

bool RecordQueue::next(Batch& batch) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return done_ || !ready_.empty(); });
  if (ready_.empty()) {
    if (error_) std::rethrow_exception(error_);
    return false;
  }
  batch = std::move(ready_.front());
  ready_.pop_front();
  changed_.notify_all();
  return true;
}

}  // namespace frugal
