// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "apps/gateway/backend.hpp"
#include "kernels/model/model.hpp"

#include <memory>
#include <string>

namespace perigee::cli {

/// What the gateway tells clients about `model`, which they call `name`: sizes and end ids from its configuration, the
/// form of conversations from `tokenizer_config.json` and `chat_template.jinja` where the directory has them. Throws
/// `failure` if one of these exists and cannot be read.
gateway::model_facts facts_of(const kernels::model& model, std::string name);

/// Text to tokens by a model's tokenizer.
class model_encoder final : public gateway::text_encoder {
public:
  explicit model_encoder(std::shared_ptr<const kernels::model> model) : model_(std::move(model)) {}

  std::vector<token_id> encode(std::string_view text, bool add_bos, bool parse_special) const override;

private:
  std::shared_ptr<const kernels::model> model_;
};

} // namespace perigee::cli
