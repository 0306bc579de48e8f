// SPDX-License-Identifier: Apache-2.0
#include "apps/perigee/model_facts.hpp"

#include "kernels/model/byte_alphabet.hpp"
#include "kernels/model/utf8.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <iterator>

namespace perigee::cli {

namespace {

namespace fs = std::filesystem;

constexpr auto text_file_bytes_max = uint64_t{16} << 20;

/// The whole file; empty where there is none.
std::string read_optional(const fs::path& path) {
  auto error = std::error_code{};
  if (!fs::exists(path, error))
    return {};
  auto bytes = fs::file_size(path, error);
  if (error || bytes > text_file_bytes_max)
    throw failure(errc::invalid_argument,
                  error ? fmt::format("{}: {}", path.string(), error.message())
                        : fmt::format("{}: has {} bytes; allowed: {}", path.string(), bytes, text_file_bytes_max));
  auto file = std::ifstream{path, std::ios::binary};
  auto text = std::string{std::istreambuf_iterator<char>{file}, {}};
  if (!file)
    throw failure(errc::io_error, fmt::format("{}: cannot be read", path.string()));
  return text;
}

/// Unix time of the model's last change, so that it is the same after every restart.
int64_t created_at(const fs::path& dir) {
  auto error = std::error_code{};
  auto changed = fs::last_write_time(fs::is_directory(dir, error) ? dir / "config.json" : dir, error);
  if (error)
    return 0;
  auto system = std::chrono::file_clock::to_sys(changed);
  return std::chrono::duration_cast<std::chrono::seconds>(system.time_since_epoch()).count();
}

/// Whether some token stands for each single byte. Only then every text has at least one token per `longest piece`
/// bytes; otherwise one unknown token may stand for any number of them.
bool covers_every_byte(const kernels::tokenizer& tokens) {
  constexpr auto alphabet = kernels::byte_alphabet();
  auto fallback = true;
  auto byte_level = true;
  for (auto byte = 0u; byte < 256; ++byte) {
    auto spelled = std::string{};
    kernels::utf8::append(spelled, alphabet[byte]);
    byte_level = byte_level && tokens.find(spelled).has_value();
    fallback = fallback && tokens.find(fmt::format("<0x{:02X}>", byte)).has_value();
  }
  return fallback || byte_level;
}

uint32_t longest_token(const kernels::tokenizer& tokens) {
  if (!covers_every_byte(tokens))
    return 0;
  auto longest = size_t{0};
  for (auto id = uint32_t{0}; id < tokens.size(); ++id)
    longest = std::max(longest, tokens.piece(static_cast<token_id>(id)).size());
  return static_cast<uint32_t>(longest);
}

} // namespace

gateway::model_facts facts_of(const kernels::model& model, std::string name) {
  const auto& config = model.config();
  auto facts = gateway::model_facts{};
  facts.id = std::move(name);
  facts.created = created_at(model.dir());
  facts.context_tokens = config.context;
  facts.vocabulary = config.vocab;
  facts.token_bytes_max = longest_token(model.tokens());
  facts.eos_ids = config.eos;
  facts.chat = model.embedded_tokenizer_config().empty()
                 ? gateway::recognise_chat_format(read_optional(model.dir() / "tokenizer_config.json"),
                                                  read_optional(model.dir() / "chat_template.jinja"))
                 : gateway::recognise_chat_format(model.embedded_tokenizer_config());
  return facts;
}

std::vector<token_id> model_encoder::encode(std::string_view text, bool add_bos, bool parse_special) const {
  return model_->tokens().encode(text, {add_bos, parse_special});
}

} // namespace perigee::cli
