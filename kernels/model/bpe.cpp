// SPDX-License-Identifier: Apache-2.0
#include "kernels/model/bpe.hpp"

#include "kernels/model/json_reader.hpp"
#include "kernels/model/utf8.hpp"
#include "transport/base/status.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <queue>

namespace perigee::kernels {

namespace json = boost::json;

namespace {

constexpr auto id_max = uint64_t{1} << 22;

[[noreturn]] void refuse(const std::string& where, const std::string& what) {
  throw failure(errc::invalid_argument, where + ": " + what);
}

uint64_t pair_key(token_id left, token_id right) {
  return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
}

} // namespace

bpe::bpe(const json::object& model, const std::string& where) {
  auto reader = json_reader{model, where};
  if (auto* type = reader.find_string("type"); type != nullptr && *type != "BPE")
    throw failure(errc::unsupported, fmt::format("{}: key \"type\" is \"{}\"; this engine supports \"BPE\"", where,
                                                 std::string_view{*type}));
  for (auto* key : {"continuing_subword_prefix", "end_of_word_suffix"})
    if (auto* text = reader.find_string(key); text != nullptr && !text->empty())
      throw failure(errc::unsupported, fmt::format("{}: key \"{}\" is \"{}\"; this engine supports only an empty one",
                                                   where, key, std::string_view{*text}));
  byte_fallback_ = reader.find_bool("byte_fallback").value_or(false);
  fuse_unknown_ = reader.find_bool("fuse_unk").value_or(false);
  ignore_merges_ = reader.find_bool("ignore_merges").value_or(false);
  read_vocab(model, where);
  read_merges(model, where);
  if (auto* text = reader.find_string("unk_token"); text != nullptr) {
    unknown_ = find(*text);
    if (!unknown_)
      reader.refuse("unk_token", "a piece of the vocabulary");
  }
  find_bytes();
}

bpe::bpe(bpe_parts parts, const std::string& where)
  : pieces_(std::move(parts.pieces)), unknown_(parts.unknown), byte_fallback_(parts.byte_fallback),
    fuse_unknown_(parts.fuse_unknown), ignore_merges_(parts.ignore_merges) {
  ids_.reserve(pieces_.size());
  for (auto id = size_t{0}; id < pieces_.size(); ++id)
    if (!pieces_[id].empty() && !ids_.emplace(pieces_[id], static_cast<token_id>(id)).second)
      refuse(where, fmt::format("piece \"{}\" has the ids {} and {}", pieces_[id], ids_[pieces_[id]], id));
  merges_.reserve(parts.merges.size());
  for (const auto& one : parts.merges)
    merges_.try_emplace(pair_key(one.left, one.right), merge{one.rank, one.result});
  find_bytes();
}

void bpe::find_bytes() {
  for (auto byte = 0; byte < 256; ++byte)
    byte_ids_[byte] = find(fmt::format("<0x{:02X}>", byte)).value_or(-1);
}

void bpe::read_vocab(const json::object& model, const std::string& where) {
  const auto& vocab = json_reader{model, where}.require_object("vocab");
  ids_.reserve(vocab.size());
  for (const auto& [name, value] : vocab) {
    auto piece = std::string{name};
    auto error = json::error_code{};
    auto id = value.to_number<uint64_t>(error);
    if (error || id >= id_max)
      refuse(where,
             fmt::format("vocab: piece \"{}\" has id {}; allowed: an integer below {}", piece, brief(value), id_max));
    if (id >= pieces_.size())
      pieces_.resize(id + 1);
    if (!pieces_[id].empty() || piece.empty())
      refuse(where, fmt::format("vocab: pieces \"{}\" and \"{}\" both have id {}", pieces_[id], piece, id));
    pieces_[id] = piece;
    ids_.emplace(std::move(piece), static_cast<token_id>(id));
  }
}

void bpe::read_merges(const json::object& model, const std::string& where) {
  const auto& list = json_reader{model, where}.require_array("merges");
  merges_.reserve(list.size());
  auto rank = uint32_t{0};
  for (const auto& item : list) {
    auto left = std::string_view{};
    auto right = std::string_view{};
    if (auto* text = item.if_string()) {
      auto whole = std::string_view{*text};
      auto gap = whole.find(' ');
      if (gap != std::string_view::npos) {
        left = whole.substr(0, gap);
        right = whole.substr(gap + 1);
      }
    } else if (auto* pair = item.if_array();
               pair != nullptr && pair->size() == 2 && pair->at(0).is_string() && pair->at(1).is_string()) {
      left = pair->at(0).get_string();
      right = pair->at(1).get_string();
    }
    auto first = find(left);
    auto second = find(right);
    auto both = find(std::string{left} + std::string{right});
    if (left.empty() || right.empty() || !first || !second || !both)
      refuse(where, fmt::format("merges: number {} is {}; allowed: two pieces of the vocabulary that make a third",
                                rank, brief(item)));
    merges_.try_emplace(pair_key(*first, *second), merge{rank, *both});
    ++rank;
  }
}

std::optional<token_id> bpe::find(std::string_view piece) const {
  auto found = ids_.find(piece);
  return found == ids_.end() ? std::nullopt : std::optional{found->second};
}

const bpe::merge* bpe::find_merge(token_id left, token_id right) const {
  auto found = merges_.find(pair_key(left, right));
  return found == merges_.end() ? nullptr : &found->second;
}

void bpe::split(std::string_view word, std::vector<token_id>& symbols) const {
  auto after_unknown = false;
  while (!word.empty()) {
    auto character = word.substr(0, utf8::front(word).bytes);
    word.remove_prefix(character.size());
    auto was_unknown = std::exchange(after_unknown, false);
    if (auto id = find(character)) {
      symbols.push_back(*id);
    } else if (byte_fallback_
               && std::ranges::all_of(character, [&](char c) { return byte_ids_[static_cast<uint8_t>(c)] >= 0; })) {
      for (auto c : character)
        symbols.push_back(byte_ids_[static_cast<uint8_t>(c)]);
    } else if (unknown_) {
      if (!was_unknown || !fuse_unknown_)
        symbols.push_back(*unknown_);
      after_unknown = true;
    }
  }
}

void bpe::encode(std::string_view word, std::vector<token_id>& out) const {
  if (ignore_merges_)
    if (auto id = find(word)) {
      out.push_back(*id);
      return;
    }
  auto symbols = std::vector<token_id>{};
  split(word, symbols);
  // A doubly linked list over the symbols, and a heap of possible merges: lowest rank first, then leftmost.
  struct link {
    int32_t previous, next;
  };
  struct candidate {
    uint32_t rank;
    int32_t at;
    token_id result;
    bool operator>(const candidate& other) const {
      return rank != other.rank ? rank > other.rank : at > other.at;
    }
  };
  auto count = static_cast<int32_t>(symbols.size());
  auto links = std::vector<link>(symbols.size());
  auto heap = std::priority_queue<candidate, std::vector<candidate>, std::greater<>>{};
  auto offer = [&](int32_t left, int32_t right) {
    if (left >= 0 && right < count)
      if (auto* found = find_merge(symbols[left], symbols[right]))
        heap.push({found->rank, left, found->result});
  };
  for (auto i = 0; i < count; ++i) {
    links[i] = {i - 1, i + 1};
    offer(i, i + 1);
  }
  constexpr auto gone = token_id{-1};
  while (!heap.empty()) {
    auto [rank, left, result] = heap.top();
    heap.pop();
    auto right = links[left].next;
    if (symbols[left] == gone || right >= count)
      continue;
    // The symbols may have changed since the candidate was entered.
    auto* current = find_merge(symbols[left], symbols[right]);
    if (current == nullptr || current->result != result || current->rank != rank)
      continue;
    symbols[left] = result;
    symbols[right] = gone;
    links[left].next = links[right].next;
    if (links[right].next < count)
      links[links[right].next].previous = left;
    offer(links[left].previous, left);
    offer(left, links[left].next);
  }
  for (auto id : symbols)
    if (id != gone)
      out.push_back(id);
}

} // namespace perigee::kernels
