// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/sim/random.hpp"
#include "actors/sim/replay/replay.hpp"

#include <functional>
#include <map>
#include <string>
#include <vector>

namespace perigee::sim {

/// A cluster and its traffic: what happens in a scene, whatever the policy.
struct scene_setup {
  replay_options options;
  std::vector<trace_request> requests;
};

/// What came out, with one policy.
struct scene_result {
  scene_setup setup;
  replay_result run;
  run_record seen;
  std::map<std::string, uint64_t> markers;

  /// Seconds from arrival to first token; those of the service level if none came.
  double ttft_s(size_t number) const;
  /// Seconds that its prefill takes alone, with nothing cached.
  double cold_s(size_t number) const;
  /// Requests placed at each prefill instance.
  std::vector<size_t> placed() const;
  /// Seconds that each prefill instance computed.
  std::vector<double> busy_s() const;
};

/// One of the scenes that every policy must survive: made from a seed, and what went wrong in it, in one sentence, or
/// nothing.
struct scene {
  std::function<scene_setup(uint64_t seed)> make;
  std::function<std::string(const scene_result&)> complaint;
};

scene_result play(scene_setup setup, const std::string& policy);

/// With those policies there is nothing to complain of, and no invariant is hurt, for so many seeds; for one where fewer are
/// wanted.
void survive(const scene& what, const std::vector<std::string>& policies, uint64_t seeds = 3);

/// With a policy that has the fault the complaint comes: the scene tells good from bad. Not tried where fewer seeds are wanted.
void fail(const scene& what, const std::vector<std::string>& policies);

/// "MEANING: FOUND, allowed up to LIMIT" where it is more; otherwise nothing.
std::string at_most(double found, double limit, const std::string& meaning);
std::string at_least(double found, double limit, const std::string& meaning);

/// The first complaint that is one.
std::string first_of(std::initializer_list<std::string> complaints);

/// Nearest rank, `q` from 1 to 100; 0 of nothing.
double percentile_of(std::vector<double> values, uint32_t q);

/// Writes the requests of a scene, in any order of time.
class traffic_pen {
public:
  explicit traffic_pen(uint64_t seed) : random(derived_seed(seed, "scene")) {}

  /// Blocks that many prompts can begin with.
  std::vector<uint64_t> document(uint32_t tokens);

  /// A prompt of `prefix`, and so many tokens behind it that nobody else has.
  void add(double at_s, const std::vector<uint64_t>& prefix, uint32_t own_tokens, uint32_t output_tokens);

  /// In the order of their arrival.
  std::vector<trace_request> take();

  random_stream random;

private:
  std::vector<trace_request> requests_;
  uint64_t blocks_ = 0;
};

} // namespace perigee::sim
