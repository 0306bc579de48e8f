// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/sample_batch.hpp"
#include "tests/kernels/cuda/support.hpp"

#include <algorithm>
#include <cstring>
#include <limits>

using namespace perigee;
using namespace perigee::kernels;
using namespace perigee::kernels::cuda::test;
namespace cuda = perigee::kernels::cuda;

namespace {

std::vector<token_id> on_the_device(cuda::machine& on, const std::vector<float>& logits, uint32_t vocab,
                                    const std::vector<sample_request>& requests, bool one_row) {
  auto batch = cuda::sample_batch{};
  for (auto i = 0u; i < requests.size(); ++i)
    batch.add(one_row ? 0 : i, requests[i], vocab);
  auto rows = on_device(on, batch.rows());
  auto edits = on_device(on, batch.edits().empty() ? std::vector<cuda::logit_edit>(1) : batch.edits());
  auto device_logits = on_device(on, logits);
  auto scratch = cuda::device_array<float>{on, requests.size() * vocab};
  auto tokens = on_device(on, std::vector<int32_t>(requests.size(), -2));
  cuda::sample(on, {device_logits.data(), scratch.data(), rows.data(), edits.data(), tokens.data(), vocab},
               static_cast<uint32_t>(requests.size()));
  auto left = on_host(on, device_logits); // another choice may want them
  CHECK(std::memcmp(left.data(), logits.data(), logits.size() * sizeof(float)) == 0);
  return on_host(on, tokens);
}

std::vector<token_id> on_the_processor(const std::vector<float>& logits, uint32_t vocab,
                                       const std::vector<sample_request>& requests, bool one_row) {
  auto choose = sampler{};
  auto result = std::vector<token_id>{};
  for (auto i = size_t{0}; i < requests.size(); ++i)
    result.push_back(choose.sample({logits.data() + (one_row ? 0 : i * vocab), vocab}, requests[i]));
  return result;
}

} // namespace

TEST_CASE("cuda sampling: every mixture of parameters gives the processor's token") {
  auto* device = device_under_test();
  if (device == nullptr)
    return;
  auto random = numbers{1};
  for (auto vocab : {3u, 350u, 2000u}) {
    auto requests = std::vector<sample_request>(48);
    auto logits = random.floats(requests.size() * vocab, 3);
    for (auto& logit : logits)
      logit = std::round(logit * 8) / 8; // so that some are equal
    for (auto i = 0u; i < requests.size(); ++i) {
      auto& request = requests[i];
      auto& p = request.params;
      p.temperature = i % 4 == 0 ? 0 : 0.3f + static_cast<float>(random.below(20)) / 10;
      p.top_k = i % 3 == 1 ? static_cast<int32_t>(random.between(1, vocab + 1)) : 0;
      p.top_p = i % 5 == 2 ? 0.05f + static_cast<float>(random.below(90)) / 100 : 1;
      p.seed = random.below(1000);
      request.choice = random.below(4);
      request.generated = random.below(6);
      if (i % 2 == 1) {
        p.repetition_penalty = 1.3f;
        p.presence_penalty = static_cast<float>(random.below(3));
        p.frequency_penalty = 0.5f;
        request.prompt_tokens = 4;
        for (auto j = 0; j < 12; ++j)
          request.history.push_back(static_cast<token_id>(random.below(vocab)));
      }
      if (i % 7 == 3) {
        p.min_tokens = 4;
        p.stop_ids = {0, static_cast<token_id>(vocab - 1)};
      }
    }
    CHECK_EQ(on_the_device(*device, logits, vocab, requests, false), on_the_processor(logits, vocab, requests, false));
    CHECK_EQ(on_the_device(*device, logits, vocab, requests, true), on_the_processor(logits, vocab, requests, true));
  }
}

TEST_CASE("cuda sampling: draws follow the weights") {
  auto* device = device_under_test();
  if (device == nullptr)
    return;
  auto requests = std::vector<sample_request>(200);
  for (auto i = 0u; i < requests.size(); ++i)
    requests[i].generated = i;
  auto drawn = on_the_device(*device, {0, std::log(3.0f), -40}, 3, requests, true);
  auto ones = std::ranges::count(drawn, 1);
  CHECK_GT(ones, 120); // 150 expected
  CHECK_LT(ones, 180);
  CHECK_EQ(std::ranges::count(drawn, 0) + ones, 200);
}

TEST_CASE("cuda sampling: what is not a number is never chosen, and nothing where nothing is finite") {
  auto* device = device_under_test();
  if (device == nullptr)
    return;
  auto infinity = std::numeric_limits<float>::infinity();
  auto nan = std::numeric_limits<float>::quiet_NaN();
  auto logits = std::vector<float>{nan,      -infinity, -3,  nan, // -3 is the only number
                                   nan,      nan,       nan, nan, //
                                   infinity, 1,         2,   3,   //
                                   -0.0f,    0.0f,      -1,  nan, -infinity, -infinity, -infinity, -infinity};
  for (auto temperature : {0.0f, 1.0f})
    for (auto top_k : {0, 1}) {
      auto requests = std::vector<sample_request>(5);
      for (auto& request : requests) {
        request.params.temperature = temperature;
        request.params.top_k = top_k;
      }
      auto tokens = on_the_device(*device, logits, 4, requests, false);
      CHECK_EQ(tokens, on_the_processor(logits, 4, requests, false));
      CHECK_EQ(tokens[0], 2);
      CHECK_EQ(tokens[1], -1);
      CHECK_EQ(tokens[2], -1);
      CHECK_EQ(tokens[4], -1);
    }
}
