// SPDX-License-Identifier: Apache-2.0
#include "actors/edge/model_text.hpp"

#include "kernels/model/detokenizer.hpp"

#include <utility>

namespace perigee {

namespace {

class model_text final : public text_decoder {
public:
  explicit model_text(std::shared_ptr<const kernels::model> model)
    : model_(std::move(model)), text_(model_->tokens(), false) {}

  std::string push(token_id token) override {
    return text_.push(token);
  }
  std::string flush() override {
    return text_.finish();
  }

private:
  std::shared_ptr<const kernels::model> model_; // before text_, which refers to its tokenizer
  kernels::detokenizer text_;
};

} // namespace

text_decoder_factory make_text_decoders(std::shared_ptr<const kernels::model> model) {
  return [model = std::move(model)](std::span<const token_id>) { return std::make_unique<model_text>(model); };
}

} // namespace perigee
