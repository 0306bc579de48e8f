// SPDX-License-Identifier: Apache-2.0
#include "kernels/model/fingerprint.hpp"

#include "transport/base/block_key.hpp"
#include "transport/base/status.hpp"

#include <fmt/format.h>
#include <openssl/evp.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <map>
#include <memory>
#include <optional>

namespace perigee::kernels {

namespace fs = std::filesystem;

namespace {

constexpr auto hex_digits = size_t{64};
constexpr auto piece_bytes = size_t{16} << 20; // between two words of progress

class hasher {
public:
  hasher() : context_(EVP_MD_CTX_new(), &EVP_MD_CTX_free) {
    if (!context_ || EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr) != 1)
      throw failure(errc::unsupported, "SHA-256 is not available from OpenSSL");
  }
  void add(std::span<const std::byte> bytes) {
    EVP_DigestUpdate(context_.get(), bytes.data(), bytes.size());
  }
  void add(std::string_view text) {
    add(std::as_bytes(std::span{text}));
  }
  std::string hex() {
    unsigned char digest[EVP_MAX_MD_SIZE];
    auto size = 0u;
    EVP_DigestFinal_ex(context_.get(), digest, &size);
    auto text = std::string{};
    for (auto i = 0u; i < size; ++i) {
      text += "0123456789abcdef"[digest[i] >> 4];
      text += "0123456789abcdef"[digest[i] & 15];
    }
    return text;
  }

private:
  std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context_;
};

std::optional<fs::path> cache_file() {
  auto from = [](const char* variable) {
    auto* value = std::getenv(variable);
    return fs::path{value == nullptr ? "" : value};
  };
  auto base = from("XDG_CACHE_HOME");
  if (!base.is_absolute()) {
    base = from("HOME");
    if (!base.is_absolute())
      return std::nullopt;
    base /= ".cache";
  }
  return base / "perigee" / "fingerprints";
}

/// Identifies the state of the files without reading them; nothing where the file system does not say.
std::optional<std::string> state_key(const tensor_store& tensors) {
  auto text = std::string{};
  for (const auto& path : tensors.files()) {
    auto error = std::error_code{};
    auto absolute = fs::canonical(path, error);
    if (error)
      return std::nullopt;
    auto size = fs::file_size(absolute, error);
    auto changed = fs::last_write_time(absolute, error);
    if (error)
      return std::nullopt;
    text += fmt::format("{}\n{}\n{}\n", absolute.string(), size, changed.time_since_epoch().count());
  }
  return sha256_hex(std::as_bytes(std::span{text}));
}

/// The cache as written: one line `state digest` per model; lines of another form are dropped.
std::map<std::string, std::string> read_cache(const fs::path& path) {
  auto result = std::map<std::string, std::string>{};
  auto in = std::ifstream{path};
  auto line = std::string{};
  while (std::getline(in, line))
    if (line.size() == 2 * hex_digits + 1 && line[hex_digits] == ' '
        && line.find_first_not_of("0123456789abcdef ") == std::string::npos)
      result[line.substr(0, hex_digits)] = line.substr(hex_digits + 1);
  return result;
}

void write_cache(const fs::path& path, const std::map<std::string, std::string>& entries) {
  auto error = std::error_code{};
  fs::create_directories(path.parent_path(), error);
  // Another process may do the same: each writes its own file, and the last rename stays.
  auto fresh = path;
  fresh += fmt::format(".{}", ::getpid());
  auto written = false;
  {
    auto out = std::ofstream{fresh, std::ios::trunc};
    for (const auto& [state, digest] : entries)
      out << state << ' ' << digest << '\n';
    out.flush();
    written = out.good();
  }
  if (written)
    fs::rename(fresh, path, error);
  if (!written || error)
    fs::remove(fresh, error);
}

std::string compute(const tensor_store& tensors, const std::function<void(double share)>& tell) {
  auto all = hasher{};
  auto bytes = size_t{0};
  for (const auto& [name, tensor] : tensors.tensors())
    bytes += tensor.bytes.size();
  auto done = size_t{0};
  for (const auto& [name, tensor] : tensors.tensors()) {
    all.add(fmt::format("{}:{} {} [{}]\n", name.size(), name, tensor.type_name, shape_text(tensor.shape)));
    for (auto left = tensor.bytes; !left.empty(); left = left.subspan(std::min(left.size(), piece_bytes))) {
      auto piece = left.first(std::min(left.size(), piece_bytes));
      all.add(piece);
      done += piece.size();
      if (tell)
        tell(static_cast<double>(done) / static_cast<double>(bytes));
    }
  }
  return all.hex();
}

} // namespace

std::string tensor_digest(const tensor_store& tensors, const std::function<void(double share)>& tell) {
  auto path = cache_file();
  auto state = path ? state_key(tensors) : std::nullopt;
  if (!state)
    return compute(tensors, tell);
  auto entries = read_cache(*path);
  if (auto known = entries.find(*state); known != entries.end())
    return known->second;
  auto digest = compute(tensors, tell);
  entries[*state] = digest;
  write_cache(*path, entries);
  return digest;
}

} // namespace perigee::kernels
