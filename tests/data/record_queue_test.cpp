#include "data/record_queue.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <csignal>

#include "data_test_util.h"

namespace frugal {
namespace {

std::string numbered_line(int i) {
  return "{\"text\": \"" + std::to_string(i) + std::string(1000, 'x') + "\"}\n";
}

TEST(RecordQueue, KeepsOrderAndThrowsAfterTheRecordsBeforeTheError) {
  const fs::path folder = fresh_folder();
  std::string content;
  for (int i = 0; i < 12000; ++i) content += numbered_line(i);  // 12 MB: several batches
  write_file_atomically(folder / "a.jsonl", content);
  write_file_atomically(folder / "b.jsonl", "");
  RecordQueue queue({(folder / "a.jsonl").string(), (folder / "b.jsonl").string()}, {});
  RecordQueue::Batch batch;
  int next = 0;
  const auto drain = [&] {
    while (queue.next(batch)) {
      size_t bytes = 0;
      for (const Record& record : batch.records) {
        EXPECT_EQ(record.line, next + 1);
        EXPECT_EQ(record.body + "\n", numbered_line(next));
        bytes += record.body.size();
        ++next;
      }
      EXPECT_LT(bytes, RecordQueue::kBatchBytes + 2000);
      EXPECT_LE(batch.records.size(), RecordQueue::kBatchRecords);
    }
  };
  EXPECT_CONTAINS(error_of(drain), "b.jsonl: the file is empty");
  EXPECT_EQ(next, 12000);
}

// A pipe shows how far the queue reads ahead of a consumer that takes nothing: not beyond its bound.
TEST(RecordQueue, ReadsOnlyABoundedPartAhead) {
  std::signal(SIGPIPE, SIG_IGN);
  const fs::path pipe = fresh_folder() / "endless.jsonl";
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  RecordQueue queue({pipe.string()}, {});
  const int out = ::open(pipe.c_str(), O_WRONLY);
  ASSERT_GE(out, 0);
  ::fcntl(out, F_SETFL, O_NONBLOCK);
  constexpr size_t kBound = (RecordQueue::kBatches + 2) * RecordQueue::kBatchBytes;
  size_t written = 0;
  int idle = 0;
  while (idle < 100 && written < 4 * kBound) {
    const std::string line = numbered_line(7);  // shorter than PIPE_BUF: written whole or not at all
    const ssize_t n = ::write(out, line.data(), line.size());
    if (n > 0) {
      written += static_cast<size_t>(n);
      idle = 0;
    } else {
      ++idle;
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
  }
  EXPECT_LT(written, kBound);
  EXPECT_GT(written, RecordQueue::kBatchBytes);
  ::close(out);
  RecordQueue::Batch batch;
  size_t records = 0;
  while (queue.next(batch)) records += batch.records.size();
  EXPECT_EQ(records, written / numbered_line(7).size());
}

}  // namespace
}  // namespace frugal
