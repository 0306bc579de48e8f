// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/session/stop_matcher.hpp"
#include "actors/session/text_decoder.hpp"
#include "actors/session/token_order.hpp"

#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace perigee {

/// One choice of a request on its way to the client: its tokens in order, the text they give, and whether a stop string
/// has ended it.
class choice_stream {
public:
  choice_stream(std::unique_ptr<text_decoder> decoder, std::vector<std::string> stops)
    : decoder_(std::move(decoder)), stops_(std::move(stops)) {}

  /// What one update gives the client. `finish` is the update's, or `stop` when a stop string was met. `stopped`: by
  /// the string alone; the instance does not know.
  struct piece {
    std::string text;
    token_run tokens;
    finish_reason finish = finish_reason::none;
    bool stopped = false;
  };

  /// Not after it finished.
  piece push(const token_update& update) {
    auto news = order_.push(update);
    auto result = piece{{}, std::move(news.tokens), news.finish, false};
    for (auto i = size_t{0}; i < result.tokens.size() && !result.stopped; ++i) {
      if (result.finish == finish_reason::stop && i + 1 == result.tokens.size())
        break; // An end token has no text.
      result.stopped = match(decoder_->push(result.tokens[i]), result);
      if (result.stopped)
        result.tokens.resize(i + 1); // How far the instance ran ahead is nobody's business.
    }
    delivered_ += static_cast<uint32_t>(result.tokens.size());
    if (result.stopped)
      result.finish = finish_reason::stop;
    else if (result.finish == finish_reason::stop || result.finish == finish_reason::length)
      end(result);
    return result;
  }

  /// Tokens that came so far, in order.
  const std::vector<token_id>& tokens() const {
    return order_.tokens();
  }
  uint32_t have() const {
    return order_.have();
  }

  /// Of those, the ones up to the end of the choice.
  uint32_t delivered() const {
    return delivered_;
  }

  /// Whether the instance is to hear how far the stream has come: it is over, has come a good way, or the instance
  /// repeated what is here already because it heard nothing. To be asked after each `push`, with what that gave.
  bool acknowledge(const piece& news) {
    auto due = news.finish != finish_reason::none || news.tokens.empty() || have() - acknowledged_ >= acknowledge_every;
    acknowledged_ = due ? have() : acknowledged_;
    return due;
  }

  /// The same before it is due. Returns whether there is something to be told.
  bool acknowledge_early() {
    return std::exchange(acknowledged_, have()) != have();
  }

  /// Why it is over for the client; `none` while it is not.
  finish_reason finished() const {
    return finished_;
  }
  void finish(finish_reason reason) {
    finished_ = reason;
  }

  /// A new attempt starts.
  void restart() {
    order_.restart();
  }

private:
  /// Returns whether a stop string was met.
  bool match(const std::string& text, piece& into) {
    if (text.empty())
      return false;
    auto found = stops_.push(text);
    into.text += found.text;
    return found.stopped;
  }

  /// The instance ended it: what the decoder and the matcher still held goes out.
  void end(piece& last) {
    if (match(decoder_->flush(), last))
      last.finish = finish_reason::stop;
    last.text += stops_.flush();
  }

  static constexpr uint32_t acknowledge_every = 16; // the instance keeps as many tokens

  token_order order_;
  uint32_t acknowledged_ = 0;
  std::unique_ptr<text_decoder> decoder_;
  stop_matcher stops_;
  uint32_t delivered_ = 0;
  finish_reason finished_ = finish_reason::none;
};

} // namespace perigee
