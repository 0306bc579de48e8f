// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/cpu/aligned_buffer.hpp"
#include "kernels/model/model.hpp"
#include "kernels/stream.hpp"

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace perigee::kernels {

namespace cpu {
class transformer;
}

struct engine_options {
  uint32_t threads = 1;
  uint32_t block_tokens = 16;
  bool reference_kernels = false;
  bool batch_invariant = false;
};

struct completion_options {
  uint32_t max_tokens = 128; ///< at least 1
  bool ignore_eos = false;
  sampling_params sampling;  ///< `stop_ids` is filled in by the engine
  uint32_t chunk_tokens = 0; ///< prefill in pieces of this many tokens; 0: all at once
};

struct completion {
  std::vector<token_id> prompt_tokens;
  std::vector<token_id> tokens; ///< generated, without the end id
  std::string text;             ///< of `tokens`, as it continues the prompt
  std::string finish_reason;    ///< "stop" (an end id), or "length" (max_tokens or the context is used up)
  double prefill_seconds = 0;
  double decode_seconds = 0; ///< of all steps after the first token
};

/// One model on this thread and its helpers, without actors: prefill, then token after token. Used by one thread at a
/// time.
class engine {
public:
  engine(std::shared_ptr<const model> weights, const engine_options& options);
  ~engine();

  const model& weights() const noexcept {
    return *model_;
  }

  /// Completes a text. `on_text` gets every piece of whole characters as it comes and returns whether to go on (false
  /// ends with finish_reason "stop"). Throws `failure` (invalid_argument) for text that is not UTF-8, a prompt that
  /// leaves no room in the context, or sampling parameters out of range.
  completion complete(std::string_view prompt, const completion_options& options,
                      const std::function<bool(std::string_view)>& on_text = {});
  /// The same for a prompt of ids.
  completion complete_tokens(std::vector<token_id> prompt, const completion_options& options,
                             const std::function<bool(std::string_view)>& on_text = {});

private:
  void ensure_pool(uint32_t tokens);

  std::shared_ptr<const model> model_;
  engine_options options_;
  kv_layout layout_;
  cpu::aligned_buffer<std::byte> pool_;
  std::vector<std::byte*> blocks_; // one after the other in the pool
  std::unique_ptr<cpu::transformer> transformer_;
};

} // namespace perigee::kernels
