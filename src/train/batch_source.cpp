#include "train/batch_source.h"

#include <nlohmann/json.hpp>

#include "data/stream.h"

namespace frugal {
namespace {

class StreamBatches : public BatchSource {
 public:
  explicit StreamBatches(BatchStream& stream) : stream_(stream) {}
  TrainBatch next(int64_t rows, int64_t length) override { return stream_.next(rows, length); }
  Json state() const override { return stream_.state(); }
  void restore(const Json& state, const std::string& where) override { stream_.restore(state, where); }

 private:
  BatchStream& stream_;
};

}  // namespace

std::unique_ptr<BatchSource> batches_of(BatchStream& stream) {
  return std::make_unique<StreamBatches>(stream);
}

}  // namespace frugal
