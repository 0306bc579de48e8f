// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/conductor/estimator.hpp"
#include "actors/sim/replay/device_turn.hpp"
#include "actors/sim/replay/run_recorder.hpp"
#include "actors/sim/replay/shared_machine.hpp"
#include "actors/sim/world.hpp"
#include "kernels/stream.hpp"

#include <deque>
#include <map>
#include <memory>
#include <variant>
#include <vector>

namespace perigee::sim {

class replay_stream;

/// Ends an answer whose length its client does not tell.
inline constexpr token_id replay_end_token = 2;

struct replay_stream_options {
  cost_profile costs;
  bool chunks_alone = false; ///< every chunk pays what otherwise a prompt pays once
  kernels::kv_layout layout; ///< bytes are stand-ins: nothing is ever computed on them
  uint32_t slots = 0;
  uint64_t activation_bytes_block = 0; ///< between two layers; 0: it runs all layers
  /// Tokens that each request generates, by its sampling seed. Only this device knows. Must outlive the stream.
  const std::vector<uint32_t>* output_tokens = nullptr;
  /// Factors on the time of whole prefills, drawn at random; none: every prefill takes what the profile says.
  std::vector<double> prefill_noise;
  run_recorder* recorder = nullptr; ///< told of chunks and steps; may be null
  uint32_t instance = 0;            ///< its number there
  std::shared_ptr<device_turn<replay_stream>> turn; ///< with whom it shares the device; null: with nobody
  std::shared_ptr<shared_machine<replay_stream>> machine; ///< with whom it shares memory; null: with nobody
  double together = 1; ///< how many times longer work takes while another one computes there
};

/// A device that computes nothing and takes the time of a cost profile, with the contract of `kernels::stream`. A prompt
/// pays the profile's constant and its reused tokens with its first chunk (or with every one: `chunks_alone`); every
/// chunk the increment over its ends; a part of the layers its share of that. One `layer_done` for all layers of a chunk
/// comes when it starts: the network that carries its KV away knows from `ready_ns` when the last of it is there
/// (layer-wise hand-over as one flow). `events` must outlive it; they are called between two messages.
class replay_stream final : public kernels::stream, private alarm_target {
public:
  replay_stream(world& home, replay_stream_options options, uint64_t seed, kernels::stream_events& events);

  const kernels::kv_layout& layout() const override {
    return options_.layout;
  }
  std::span<std::byte> pool() override {
    return {pool_.get(), options_.slots * options_.layout.block_bytes()};
  }
  uint64_t activation_bytes_block() const override {
    return options_.activation_bytes_block;
  }
  uint32_t slots() const override {
    return options_.slots;
  }
  void submit(kernels::prefill_work work) override;
  void submit(kernels::decode_work work) override;
  void submit(kernels::copy_work work) override;
  void cancel(uint64_t id) override;

  /// By `device_turn`: the device is this stream's until its item is done.
  void take_turn() {
    run();
  }

  /// By `shared_machine`: another stream of it began or ended.
  void change_pace();

  /// When the block at that place of the pool is computed; in the past unless a chunk is running on it.
  uint64_t ready_ns(const std::byte* place) const;

  struct counters {
    uint64_t prefills = 0; ///< prompts begun
    uint64_t prefill_ns = 0;
    uint64_t computed_tokens = 0;
    uint64_t steps = 0;
    uint64_t rows = 0; ///< over all steps
    uint64_t step_ns = 0;
  };
  const counters& totals() const {
    return totals_;
  }

private:
  struct refused {
    uint64_t id = 0;
    status why;
  };
  struct item {
    std::variant<kernels::prefill_work, kernels::decode_work, kernels::copy_work, refused> work;
    bool cancelled = false;
    uint64_t id() const;
  };
  /// A prompt of which some chunks have run.
  struct prompt {
    uint32_t end = 0;
    double factor = 1;
  };

  template <class Work>
  void enqueue(Work work);
  void begin();
  void run();
  double pace() const;
  void go_on();
  uint64_t start(const kernels::prefill_work& work);
  uint64_t start(const kernels::decode_work& work);
  void on_alarm(uint64_t what) override;
  token_id next_token(const kernels::sample_request& sample) const;

  world& home_;
  const replay_stream_options options_;
  random_stream random_;
  kernels::stream_events& events_;
  std::unique_ptr<std::byte[]> pool_; ///< nobody looks into it
  std::vector<uint64_t> ready_ns_; ///< by slot
  std::map<uint32_t, prompt> prompts_; ///< by the slot of their first block
  std::deque<item> queue_;             ///< the first one runs
  uint64_t began_ns_ = 0;
  bool computes_ = false;
  double left_ns_ = 0;    ///< of the item that runs, alone, at `since_ns_`
  uint64_t since_ns_ = 0; ///< when its pace changed
  double pace_ = 1;       ///< ns of now for each of those
  uint64_t alarms_ = 0;   ///< number of the alarm that counts; those before are of an older pace
  counters totals_;
};

} // namespace perigee::sim
