// SPDX-License-Identifier: Apache-2.0
#include "actors/sim/traffic.hpp"

#include "actors/core/interfaces.hpp"

#include <caf/event_based_actor.hpp>
#include <caf/send.hpp>

#include <algorithm>

namespace perigee::sim {

namespace {

constexpr size_t problems_max = 20;
/// A request may end this much after its deadline: the session looks at deadlines when its timer ticks.
constexpr uint64_t deadline_slack_ns = 200'000'000;

} // namespace

traffic::traffic(cluster& target, traffic_options options, known_content& known)
  : target_(target), options_(options), random_(target.home().random("traffic")), known_(known) {
  for (uint32_t i = 0; i < options_.prefixes; ++i) {
    auto& tokens = prefixes_.emplace_back(random_.between(1, options_.prefix_tokens_max));
    for (auto& token : tokens)
      token = static_cast<token_id>(random_.below(static_cast<uint64_t>(target_.options().model.vocabulary)));
  }
}

void traffic::start() {
  uint64_t at = 0;
  for (uint64_t number = 1; number <= options_.requests; ++number) {
    at += random_.below(options_.gap_ns_max + 1) + (number + options_.late == options_.requests + 1 ? options_.late_ns : 0);
    ++to_come_;
    target_.home().at(at, [this, number] { arrive(number); });
  }
}

bool traffic::done() const {
  return to_come_ == 0 && open_ == 0;
}

void traffic::arrive(uint64_t number) {
  --to_come_;
  auto& who = clients_[number];
  who.spec = draw(number);
  who.gateway = static_cast<uint32_t>(random_.below(target_.options().gateways));
  who.opened_ns = target_.home().now();
  foresee(who);
  auto session = target_.session_handle(who.gateway);
  if (!session) {
    ++totals_.lost;
    return;
  }
  ++totals_.opened;
  ++open_;
  who.open = true;
  session->enqueue(caf::actor_cast<caf::strong_actor_ptr>(edge(who.gateway)), caf::make_message_id(),
                   caf::make_message(who.spec), nullptr);
  if (random_.chance(options_.leave_ppm))
    target_.home().at(random_.below(options_.leave_ns_max + 1), [this, number] { leave(number); });
}

open_request traffic::draw(uint64_t number) {
  const auto& model = target_.options().model;
  open_request result;
  result.client = number;
  auto follows = !conversations_.empty() && random_.chance(options_.follow_ppm);
  const auto& known = follows ? conversations_ : prefixes_;
  auto prompt = known[random_.below(known.size())];
  for (auto more = random_.between(1, options_.suffix_tokens_max); more > 0; --more)
    prompt.push_back(static_cast<token_id>(random_.below(static_cast<uint64_t>(model.vocabulary))));
  // Conversations do not grow for ever.
  auto longest = size_t{options_.prefix_tokens_max} + 3 * options_.suffix_tokens_max;
  if (prompt.size() > longest)
    prompt.resize(longest);
  result.prompt = std::move(prompt);
  result.max_tokens = static_cast<uint32_t>(random_.between(1, options_.max_tokens_max));
  result.choices = random_.chance(options_.several_ppm)
                     ? static_cast<uint32_t>(random_.between(2, options_.choices_max)) : 1;
  result.sampling.temperature = random_.chance(options_.greedy_ppm) ? 0.0f : 1.0f;
  result.sampling.seed = random_.next();
  result.seeded = true;
  if (!random_.chance(options_.ignore_end_ppm))
    result.sampling.stop_ids = {model.end_token};
  result.deadline_ns = options_.deadline_ns;
  return result;
}

/// Says what a fault-free run would give, and what KV it would leave.
void traffic::foresee(client& who) {
  const auto& model = target_.options().model;
  const auto& spec = who.spec;
  for (uint32_t choice = 0; choice < spec.choices; ++choice) {
    auto& tokens = who.expected.emplace_back(
      model.expected_tokens(spec.prompt, spec.sampling, choice, spec.max_tokens, spec.sampling.stop_ids));
    auto all = std::vector<token_id>(spec.prompt.begin(), spec.prompt.end());
    all.insert(all.end(), tokens.begin(), tokens.end());
    known_.add(model, all);
    auto tags = model.expected_tags(all);
    auto keys = chain_keys(root_key(target_.fingerprint(), spec.tenant), all, model.block_tokens);
    for (size_t block = 0; block < keys.size(); ++block) {
      auto& content = content_[keys[block]];
      if (!content.empty())
        continue;
      for (uint32_t layer = 0; layer < model.layers; ++layer)
        for (uint32_t i = 0; i < model.block_tokens; ++i)
          content.push_back(tags[(block * model.block_tokens + i) * model.layers + layer]);
    }
  }
  who.got.resize(spec.choices);
  who.text.resize(spec.choices);
  who.reasons.resize(spec.choices);
}

const std::vector<uint64_t>* traffic::block_content(const block_key& key) const {
  auto at = content_.find(key);
  return at == content_.end() ? nullptr : &at->second;
}

void traffic::leave(uint64_t number) {
  auto& who = clients_.at(number);
  if (!who.open)
    return;
  ++totals_.left;
  --open_;
  who.open = false;
  if (auto session = target_.session_handle(who.gateway))
    caf::anon_send(session, close_request{number});
}

void traffic::gateway_dies(uint32_t gateway) {
  for (auto& [number, who] : clients_)
    if (who.open && who.gateway == gateway) {
      ++totals_.lost;
      --open_;
      who.open = false;
    }
}

caf::actor traffic::edge(uint32_t gateway) {
  auto& handle = edges_[gateway];
  if (!handle)
    handle = target_.home().spawn("clients-" + std::to_string(gateway), [this](caf::event_based_actor*) {
      return caf::behavior{
        [](const client_opened&) {},
        [this](const client_texts& news) {
          for (const auto& item : news.items)
            on(item);
        },
        [this](const client_finish& news) { on(news); },
        [this](const client_end& news) { on(news); },
        [this](const client_error& news) { on(news); },
      };
    });
  return handle;
}

/// Null for a client that left: the session may not have heard of it yet.
traffic::client* traffic::find(uint64_t number) {
  auto at = clients_.find(number);
  if (at == clients_.end()) {
    problem(number, "got an answer and never asked");
    return nullptr;
  }
  if (at->second.ended)
    problem(number, "got an answer after its end");
  return at->second.open ? &at->second : nullptr;
}

void traffic::on(const client_text& news) {
  auto* who = find(news.client);
  if (who == nullptr)
    return;
  if (news.choice >= who->got.size())
    return problem(news.client, "got text of choice " + std::to_string(news.choice) + ", which it did not ask for");
  auto& got = who->got[news.choice];
  const auto& expected = who->expected[news.choice];
  who->text[news.choice] += news.text;
  for (auto token : news.tokens) {
    ++totals_.tokens;
    got.push_back(token);
    if (got.size() > expected.size() || token != expected[got.size() - 1])
      return problem(news.client, "choice " + std::to_string(news.choice) + " token " + std::to_string(got.size() - 1)
                                    + " is " + std::to_string(token) + ", expected "
                                    + (got.size() > expected.size() ? std::string{"none"}
                                                                    : std::to_string(expected[got.size() - 1])));
  }
}

void traffic::on(const client_finish& news) {
  auto* who = find(news.client);
  if (who == nullptr)
    return;
  if (news.choice >= who->reasons.size() || who->reasons[news.choice] != finish_reason::none)
    return problem(news.client, "choice " + std::to_string(news.choice) + " finished twice or was not asked for");
  who->reasons[news.choice] = news.reason;
}

void traffic::on(const client_end& news) {
  auto* who = find(news.client);
  if (who == nullptr)
    return;
  ++totals_.finished;
  totals_.prompt_tokens += news.prompt_tokens;
  totals_.cached_tokens += news.cached_tokens;
  check_complete(*who, news.client);
  if (news.prompt_tokens != who->spec.prompt.size())
    problem(news.client, "is told of " + std::to_string(news.prompt_tokens) + " prompt tokens, had "
                           + std::to_string(who->spec.prompt.size()));
  if (news.cached_tokens >= news.prompt_tokens)
    problem(news.client, "is told that its whole prompt was cached; at least one token is computed");
  const auto& prompt = who->spec.prompt;
  auto conversation = std::vector<token_id>(prompt.begin(), prompt.end());
  conversation.insert(conversation.end(), who->expected[0].begin(), who->expected[0].end());
  conversations_.push_back(std::move(conversation));
  end(*who, news.client);
}

void traffic::check_complete(const client& who, uint64_t number) {
  for (size_t choice = 0; choice < who.got.size(); ++choice) {
    // An end token is not part of the text; whether its id is told is left open.
    auto expected = who.expected[choice];
    const auto& ends = who.spec.sampling.stop_ids;
    auto stopped = std::find(ends.begin(), ends.end(), expected.back()) != ends.end();
    auto without = expected;
    if (stopped)
      without.pop_back();
    std::string text;
    for (auto token : without)
      text += '<' + std::to_string(token) + '>';
    if (who.got[choice] != expected && who.got[choice] != without)
      problem(number, "ended with " + std::to_string(who.got[choice].size()) + " of "
                        + std::to_string(expected.size()) + " tokens of choice " + std::to_string(choice));
    if (who.text[choice] != text)
      problem(number, "choice " + std::to_string(choice) + " reads " + who.text[choice] + ", expected " + text);
    if (who.reasons[choice] != (stopped ? finish_reason::stop : finish_reason::length))
      problem(number, "choice " + std::to_string(choice) + " finished by " + to_string(who.reasons[choice]));
  }
}

void traffic::on(const client_error& news) {
  auto* who = find(news.client);
  if (who == nullptr)
    return;
  ++totals_.errors[news.code];
  if (news.detail.empty())
    problem(news.client, std::string{"failed with "} + to_string(news.code) + " and no word of explanation");
  if (who->opened_ns >= calm_ns_)
    problem(news.client, std::string{"I10: came after the last fault and failed with "} + to_string(news.code) + ": "
                           + news.detail);
  end(*who, news.client);
}

void traffic::end(client& who, uint64_t number) {
  --open_;
  who.open = false;
  who.ended = true;
  auto took = target_.home().now() - who.opened_ns;
  if (took > options_.deadline_ns + deadline_slack_ns)
    problem(number, "ended after " + std::to_string(took) + " ns, its deadline was "
                      + std::to_string(options_.deadline_ns));
}

void traffic::problem(uint64_t number, const std::string& what) {
  if (problems_.size() < problems_max)
    problems_.push_back("request " + std::to_string(number) + " " + what);
}

} // namespace perigee::sim
