// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "transport/base/block_key.hpp"

#include <functional>
#include <memory>
#include <span>
#include <string>

namespace perigee {

/// Turns the tokens of one choice into text as they come; never half a UTF-8 character.
class text_decoder {
public:
  virtual ~text_decoder() = default;
  virtual std::string push(token_id token) = 0;
  /// What is left at the end.
  virtual std::string flush() = 0;
};

/// Makes the decoder of one choice that continues `prompt`.
using text_decoder_factory = std::function<std::unique_ptr<text_decoder>(std::span<const token_id> prompt)>;

} // namespace perigee
