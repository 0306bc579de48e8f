// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/session/text_decoder.hpp"
#include "kernels/model/model.hpp"

#include <memory>

namespace perigee {

/// Decoders over a model's tokenizer, for sessions: a completion's text continues its prompt, special tokens have none.
/// The factory and what it makes keep the model alive.
text_decoder_factory make_text_decoders(std::shared_ptr<const kernels::model> model);

} // namespace perigee
