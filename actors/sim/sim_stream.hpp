// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/sim/device_costs.hpp"
#include "actors/sim/toy_model.hpp"
#include "actors/sim/world.hpp"
#include "kernels/block_table.hpp"
#include "kernels/passage_table.hpp"

#include <deque>
#include <memory>
#include <variant>

namespace perigee::sim {

struct stream_options {
  toy_model model;
  device_costs costs;
  uint32_t slots = 256;
  /// If set, each tag read is looked up here, and what is not known is counted. Must outlive the stream.
  const known_content* known = nullptr;
};

/// A device in virtual time: real bytes in its pool, the time of a cost model, the contract of `kernels::stream`. KV of a
/// layer is read and written at the instant at which the layer is done. `events` must outlive it and are called between two
/// messages of the world.
class sim_stream final : public kernels::stream {
public:
  sim_stream(world& home, stream_options options, kernels::stream_events& events);
  ~sim_stream() override;

  const kernels::kv_layout& layout() const override;
  std::span<std::byte> pool() override;
  uint32_t slots() const override;
  uint64_t activation_bytes_block() const override {
    return toy_model::activation_bytes * layout_.block_tokens;
  }
  bool by_layer() const override {
    return true;
  }
  std::optional<uint32_t> lend(std::span<const std::byte> memory) override {
    return table_.lend(memory);
  }
  void submit(kernels::prefill_work work) override;
  void submit(kernels::decode_work work) override;
  void submit(kernels::copy_work work) override;
  void cancel(uint64_t id) override;

  /// From now on every item is answered `io_error`, as by a device that says no.
  void fail();
  /// From now on nothing is answered any more, as by a device whose driver hangs.
  void hang();

  /// Tags read that are not in `known`.
  uint64_t mismatches() const {
    return mismatches_;
  }

private:
  /// Stands in the queue for an item that was not accepted, so that its answer keeps its place.
  struct refused {
    uint64_t id = 0;
    status why;
  };

  struct item {
    std::variant<kernels::prefill_work, kernels::decode_work, kernels::copy_work, refused> work;
    bool cancelled = false;
    uint64_t id() const;
  };

  enum class health : uint8_t { good, failed, hung };

  template <class Work>
  void enqueue(Work work);
  void begin();
  void layer_done(uint32_t layer);
  void finish(kernels::work_result result);
  void later(uint64_t ns, std::function<void()> fn);
  status check(const item& next) const;
  uint64_t cost(const item& next) const;

  /// Where a layer lies of each of some blocks that cover so many tokens.
  std::vector<std::byte*> layer_of(std::span<const uint32_t> slots, uint32_t tokens, uint32_t layer) const;
  std::vector<std::byte*> layer_of(const kernels::prefill_work& work, uint32_t layer) const;
  uint64_t read(const std::byte* block, uint32_t position);
  void write(std::byte* block, uint32_t position, uint64_t tag);
  uint64_t sum_before(std::span<std::byte* const> blocks, uint32_t position);
  /// Between two layers.
  struct activation {
    uint64_t token = 0;
    uint64_t word = 0;
  };
  std::byte* activation_place(const kernels::prefill_work& work, uint32_t position);
  void take_activations(const kernels::prefill_work& work);
  void leave_activations(const kernels::prefill_work& work);
  void compute(const kernels::prefill_work& work, uint32_t layer);
  std::vector<token_id> compute(const kernels::decode_work& work);
  std::vector<token_id> sample(const kernels::prefill_work& work);

  world& home_;
  const stream_options options_;
  const kernels::kv_layout layout_;
  kernels::stream_events& events_;
  std::vector<std::byte> pool_;
  kernels::block_table table_;
  std::deque<item> queue_; ///< the first one runs if `running_`
  uint32_t accepted_ = 0;
  bool running_ = false;
  uint64_t began_ns_ = 0;
  uint64_t layer_ns_ = 0;
  std::vector<activation> passing_; ///< of the tokens of the prefill that runs
  using passage_table = kernels::passage_table<std::vector<activation>>;
  passage_table passages_;
  std::optional<passage_table::visit> visit_; ///< of the prefill that runs, if it is of a passage
  health health_ = health::good;
  uint64_t mismatches_ = 0;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

} // namespace perigee::sim
