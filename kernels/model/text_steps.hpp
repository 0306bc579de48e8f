// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/json/fwd.hpp>

#include <memory>
#include <string>
#include <vector>

namespace perigee::kernels {

/// One step of `normalizer` in a tokenizer.json: Prepend, Replace, NFC, NFD, NFKC, NFKD.
class normalizer {
public:
  virtual ~normalizer() = default;
  virtual std::string apply(std::string text) const = 0;
};

/// One step of `pre_tokenizer`: Split, ByteLevel, Metaspace, Digits. Cuts a word into words and may rewrite them.
class pre_tokenizer {
public:
  virtual ~pre_tokenizer() = default;
  /// `first` tells that the word begins the whole text (nothing, not even an added token, stands before it).
  virtual void apply(std::string word, bool first, std::vector<std::string>& out) const = 0;
};

using normalizers = std::vector<std::unique_ptr<const normalizer>>;
using pre_tokenizers = std::vector<std::unique_ptr<const pre_tokenizer>>;

/// From the JSON value of `normalizer` or `pre_tokenizer` (null gives no steps; `Sequence` is flattened). Throws
/// `failure`: invalid_argument for malformed steps, unsupported for those this engine does not know; both name the
/// step.
normalizers read_normalizers(const boost::json::value& value, const std::string& where);
pre_tokenizers read_pre_tokenizers(const boost::json::value& value, const std::string& where);

/// `text` after all steps.
std::string normalize(const normalizers& steps, std::string text);
/// The words of `text` after all steps; empty words are dropped.
std::vector<std::string> pre_tokenize(const pre_tokenizers& steps, std::string text, bool first);

} // namespace perigee::kernels
