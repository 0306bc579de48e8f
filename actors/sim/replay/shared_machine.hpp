// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

namespace perigee::sim {

/// Streams that compute on one machine, on cores of their own: memory and caches are shared, so that each is slower while
/// another computes.
template <class Stream>
class shared_machine {
public:
  void add(Stream* stream) {
    streams_.push_back({stream, false});
  }
  /// Whether another one computes.
  bool busy_beside(const Stream* stream) const {
    for (const auto& one : streams_)
      if (one.stream != stream && one.computes)
        return true;
    return false;
  }
  /// `stream` begins or ends; the others are told by `Stream::change_pace`.
  void set(const Stream* stream, bool computes) {
    for (auto& one : streams_)
      if (one.stream == stream)
        one.computes = computes;
    for (const auto& one : streams_)
      if (one.stream != stream)
        one.stream->change_pace();
  }

private:
  struct member {
    Stream* stream;
    bool computes;
  };

  std::vector<member> streams_;
};

} // namespace perigee::sim
