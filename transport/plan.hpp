// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "transport/fabric.hpp"

namespace perigee::transport {

/// Sum over a gather list; saturates instead of wrapping.
uint64_t total_bytes(const std::vector<piece>& pieces) noexcept;

/// Whether every piece lies inside both regions, and whether `work` asks for something that exists. `local_bytes` is
/// the size of the local region.
status check_transfer(const transfer& work, uint64_t local_bytes);

/// Walks a gather list in pieces of a bounded size. Neighbours that touch in both memories count as one, empty pieces
/// as none.
class piece_cursor {
public:
  explicit piece_cursor(std::vector<piece> pieces);

  bool done() const noexcept {
    return at_ == pieces_.size();
  }

  /// The next at most `bytes_max` > 0 bytes. Only while not `done`.
  piece next(uint64_t bytes_max) noexcept;

private:
  std::vector<piece> pieces_; // merged
  size_t at_ = 0;
  uint64_t used_ = 0; // bytes of pieces_[at_] that were given out
};

} // namespace perigee::transport
