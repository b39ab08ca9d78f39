#include "eval/loglikelihood.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"

namespace frugal {
namespace {

// Rows of a pass whose logits are wanted: the one before each continuation token.
struct Wanted {
  int64_t row;
  int32_t target;
  size_t request;
};

struct Pass {
  Batch batch;
  std::vector<Wanted> wanted;
};

void check(const LoglikelihoodRequest& request, size_t index, const ModelShape& shape) {
  if (request.context.empty() || request.continuation.empty())
    fail("request {}: context or continuation is empty", index);
  if (std::ssize(request.continuation) > shape.max_positions) {
    fail("request {}: a continuation of {} tokens; this model reaches {}", index, request.continuation.size(),
         shape.max_positions);
  }
  for (const auto* ids : {&request.context, &request.continuation}) {
    for (const int32_t id : *ids) {
      if (id < 0 || id >= shape.vocab_size) {
        fail("request {}: token id {} is outside the model's vocabulary of {}", index, id, shape.vocab_size);
      }
    }
  }
}

void add(Pass& pass, const LoglikelihoodRequest& request, size_t index, int64_t longest) {
  std::vector<int32_t> ids = request.context;
  ids.insert(ids.end(), request.continuation.begin(), request.continuation.end());
  ids.pop_back();  // the last token is only predicted
  if (std::ssize(ids) > longest) ids.erase(ids.begin(), ids.end() - longest);
  Batch& batch = pass.batch;
  if (batch.offsets.empty()) batch.offsets.push_back(0);
  for (int64_t i = 0; i < std::ssize(ids); ++i) batch.positions.push_back(static_cast<int32_t>(i));
  batch.tokens.insert(batch.tokens.end(), ids.begin(), ids.end());
  batch.offsets.push_back(batch.rows());
  int64_t row = batch.rows() - std::ssize(request.continuation);
  for (const int32_t target : request.continuation) pass.wanted.push_back({row++, target, index});
}

struct Score {
  double nats;
  bool best;
};

Score score(std::span<const float> logits, int32_t target) {
  const float top = *std::ranges::max_element(logits);
  if (!std::isfinite(top)) fail("the model computed no finite logit: its weights are broken");
  double sum = 0;
  for (const float x : logits) sum += std::exp(static_cast<double>(x) - top);
  const float own = logits[static_cast<size_t>(target)];
  // The first of the largest, as the sampler chooses.
  const bool best = std::ranges::find(logits, top) - logits.begin() == target;
  return {static_cast<double>(own) - top - std::log(sum), best};
}

void run(Context& ctx, Model& model, const Pass& pass, std::vector<Loglikelihood>& out) {
  const Hidden hidden = model.forward(ctx, pass.batch, nullptr);
  constexpr size_t kRows = 64;  // of logits at a time: a vocabulary is large
  for (size_t begin = 0; begin < pass.wanted.size(); begin += kRows) {
    const auto part = std::span(pass.wanted).subspan(begin, std::min(kRows, pass.wanted.size() - begin));
    std::vector<int64_t> rows;
    for (const Wanted& w : part) rows.push_back(w.row);
    const Tensor all = logits(ctx, model, hidden.normed, rows);
    std::vector<Score> scores(part.size());
    ctx.pool.parallel_for(std::ssize(part), 1, [&](int64_t from, int64_t to, int) {
      for (int64_t i = from; i < to; ++i) {
        const auto row =
            all.values().subspan(static_cast<size_t>(i * all.cols()), static_cast<size_t>(all.cols()));
        scores[static_cast<size_t>(i)] = score(row, part[static_cast<size_t>(i)].target);
      }
    });
    for (size_t i = 0; i < part.size(); ++i) {
      Loglikelihood& result = out[part[i].request];
      result.nats += scores[i].nats;
      result.greedy = result.greedy && scores[i].best;
    }
  }
}

}  // namespace

std::vector<Loglikelihood> loglikelihoods(Context& ctx, Model& model,
                                          std::span<const LoglikelihoodRequest> requests, int64_t rows) {
  const ModelShape shape = model.shape();
  std::vector<Loglikelihood> out(requests.size(), {0, true});
  Pass pass;
  for (size_t i = 0; i < requests.size(); ++i) {
    check(requests[i], i, shape);
    add(pass, requests[i], i, shape.max_positions);
    if (pass.batch.rows() >= rows || i + 1 == requests.size()) {
      run(ctx, model, pass, out);
      pass = {};
    }
  }
  return out;
}

}  // namespace frugal
