// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/model/tokenizer.hpp"

#include <string>

namespace perigee::kernels {

/// Turns the ids of one text into pieces of it as they come. What it hands out is always whole UTF-8 characters: bytes
/// that may still become one are held back. All pieces together, `finish` included, are what `tokenizer::decode` gives
/// for the same ids; only where a run of byte-fallback tokens is partly ill-formed do they keep its well-formed
/// characters, because these were handed out before the error came. Used by one thread at a time; the tokenizer must
/// outlive it.
class detokenizer {
public:
  /// `at_start`: the text begins here, so that a leading space which only the tokenizer put there is dropped. A
  /// continuation of a prompt passes false.
  detokenizer(const tokenizer& tokens, bool at_start, bool skip_special = true);

  /// The text that `id` completes; may be empty.
  std::string push(token_id id);
  /// No more ids come: what was held back, as U+FFFD.
  std::string finish();

private:
  void drain(std::string& out);
  void give_up(std::string& out);
  std::string strip(std::string text);

  const tokenizer& tokens_;
  bool skip_special_;
  bool first_;
  uint32_t strip_left_;
  std::string held_;
};

} // namespace perigee::kernels
