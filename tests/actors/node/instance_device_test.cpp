// SPDX-License-Identifier: Apache-2.0
#include "actors/node/instance_device.hpp"
#include "kernels/cuda/emulation/emulated_machine.hpp"
#include "tests/actors/node/cluster_fixture.hpp"
#include "tests/support/testing.hpp"
#include "transport/base/status.hpp"

#include <boost/json.hpp>

#include <fstream>
#include <sstream>

using namespace perigee;
using namespace perigee::testing;
using actors::device_choice;

namespace {

/// The emulated device in place of GPU 0.
actors::device_source emulated() {
  return {[](uint32_t index) { return index == 0 ? std::string{} : std::string{"there is no such device"}; },
          [](uint32_t) { return kernels::cuda::make_emulated_machine(); }};
}

std::shared_ptr<const kernels::model> load(const std::string& name) {
  return kernels::model::load(source_dir() / "tests/data/models" / name);
}

boost::json::value golden(const std::string& name) {
  auto text = std::stringstream{};
  text << std::ifstream{source_dir() / "tests/data/models" / name / "golden.json"}.rdbuf();
  return boost::json::parse(text.str());
}

kernels::stream_options small() {
  auto how = kernels::stream_options{};
  how.slots = 8;
  return how;
}

/// Whether the instance computes on the emulated device.
bool is_on_cuda(const device_choice& choice, const std::string& model, std::vector<std::string>* news = nullptr) {
  auto asked = uint32_t{0};
  auto source = emulated();
  source.make = [&asked](uint32_t) {
    ++asked;
    return kernels::cuda::make_emulated_machine();
  };
  auto made = actors::make_instance_device(choice, load(model), small(), 4, source, [&](const std::string& text) {
    if (news)
      news->push_back(text);
  });
  CHECK_EQ(made->stream->slots(), 8);
  return asked > 0 && (!news || news->empty());
}

} // namespace

TEST_CASE("instance_device: auto takes a device that answers and can run the model, and says why not") {
  CHECK(is_on_cuda({}, "bf16-llama3"));
  CHECK(is_on_cuda({device_choice::kind::cuda, 0}, "bf16-llama3"));
  CHECK_FALSE(is_on_cuda({device_choice::kind::cpu, 0}, "bf16-llama3"));
  auto news = std::vector<std::string>{};
  CHECK_FALSE(is_on_cuda({}, "gqa-f32", &news));
  REQUIRE_EQ(news.size(), 1);
  CHECK(news[0].find("f32") != std::string::npos);
}

TEST_CASE("instance_device: a device named in the file must answer") {
  auto refuse = [](uint32_t index, const std::string& model) {
    try {
      actors::make_instance_device({device_choice::kind::cuda, index}, load(model), small(), 4, emulated(), {});
    } catch (const failure& error) {
      return std::string{error.what()};
    }
    return std::string{};
  };
  CHECK(refuse(1, "bf16-llama3").find("cuda:1 cannot be used: there is no such device") != std::string::npos);
  CHECK(refuse(0, "gqa-f32").find("bf16") != std::string::npos);
}

TEST_CASE("instance_device: a cluster of devices with memory of their own gives the reference tokens, cold and from "
          "the cache") {
  const auto* name = "qwen2-bf16";
  auto weights = load(name);
  auto shape = cluster_shape{.prefills = 1, .decodes = 1, .shards = 1, .slots = 24};
  shape.make_device = [&](const kernels::stream_options& how) {
    return actors::make_instance_device({device_choice::kind::cuda, 0}, weights, how, 4, emulated(), {});
  };
  auto cluster = process_cluster{weights, shape};
  auto reference = golden(name);
  for (const auto& item : reference.at("prompts").as_array()) {
    auto prompt = boost::json::value_to<std::vector<token_id>>(item.at("ids"));
    auto expected = boost::json::value_to<std::vector<token_id>>(item.at("greedy"));
    expected.resize(20);
    CAPTURE(prompt.size());
    auto request = process_cluster::greedy(prompt, 20);
    auto cold = cluster.run({request});
    CHECK_EQ(cold[0].detail, "");
    CHECK_EQ(cold[0].tokens[0], expected);
    CHECK(cluster.becomes_idle());
    auto warm = cluster.run({request}); // Prefill reads what the shard wrote into the pool's copy on the host.
    CHECK_EQ(warm[0].tokens[0], expected);
    CHECK_EQ(warm[0].end.cached_tokens, prompt.size() / 16 * 16);
  }
}
