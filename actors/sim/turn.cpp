// SPDX-License-Identifier: Apache-2.0
#include "actors/sim/turn.hpp"

#include <caf/actor_system.hpp>
#include <caf/detail/default_invoke_result_visitor.hpp>
#include <caf/detail/overload.hpp>
#include <caf/mailbox_element.hpp>
#include <caf/scheduled_actor.hpp>
#include <caf/type_id.hpp>

#include <exception>
#include <utility>

namespace perigee::sim {

namespace {

using activation_result = caf::scheduled_actor::activation_result;

constexpr size_t normal_quantum = 3; // as in CAF: so many normal messages for each three times as many urgent ones

/// What CAF keeps from others.
class insides : public caf::scheduled_actor {
public:
  static auto& behaviors(caf::scheduled_actor& of) {
    return of.*(&insides::bhvr_stack_);
  }
  static bool awaits(caf::scheduled_actor& of) {
    return !(of.*(&insides::awaited_responses_)).empty();
  }
  static auto& on_unknown(caf::scheduled_actor& of) {
    return of.*(&insides::default_handler_);
  }
  static auto& on_exception(caf::scheduled_actor& of) {
    return of.*(&insides::exception_handler_);
  }
};

/// Sends what a handler returned; but nothing is no answer to what was no question.
class results final : public caf::detail::default_invoke_result_visitor<caf::scheduled_actor> {
public:
  using super = caf::detail::default_invoke_result_visitor<caf::scheduled_actor>;
  using super::operator();

  results(caf::scheduled_actor& who, const caf::mailbox_element& what)
    : super(&who), is_question_(!what.mid.is_async()) {}

  void operator()(caf::message& result) override {
    if (is_question_ || !result.empty())
      super::operator()(result);
  }

private:
  bool is_question_;
};

/// Whether its behavior gets it: no answer, and none of CAF's messages to actors, which are all of CAF's own types.
bool is_ordinary(caf::scheduled_actor& who, const caf::mailbox_element& what) {
  if (what.mid.is_response() || insides::awaits(who))
    return false;
  auto types = what.payload.types();
  return types.size() == 1 && types[0] >= caf::first_custom_type_id;
}

caf::invoke_message_result handle(caf::scheduled_actor& who, caf::mailbox_element& what) {
  auto visitor = results{who, what};
  auto& behaviors = insides::behaviors(who);
  if (!behaviors.empty() && behaviors.back()(visitor, what.payload))
    return caf::invoke_message_result::consumed;
  auto answer = who.call_handler(insides::on_unknown(who), &who, what.payload);
  return caf::visit(caf::detail::make_overload(
                      [&](auto& value) {
                        visitor(value);
                        return caf::invoke_message_result::consumed;
                      },
                      [](caf::skip_t&) { return caf::invoke_message_result::skipped; }),
                    answer);
}

/// `scheduled_actor::reactivate` for what is ordinary.
activation_result react(caf::scheduled_actor& who, caf::mailbox_element& what) {
  who.current_mailbox_element(&what);
  who.home_system().profiler_before_processing(who, what);
  try {
    if (handle(who, what) == caf::invoke_message_result::skipped)
      return activation_result::skipped;
    insides::behaviors(who).cleanup();
    return who.finalize() ? activation_result::terminated : activation_result::success;
  } catch (...) {
    auto thrown = std::current_exception();
    auto reason = who.call_handler(insides::on_exception(who), &who, thrown);
    if (what.mid.is_request())
      who.make_response_promise().deliver(reason);
    who.quit(std::move(reason));
    who.finalize();
    return activation_result::terminated;
  }
}

caf::resumable::resume_result turn_of(caf::scheduled_actor& who, caf::execution_unit& unit, size_t messages_max) {
  using caf::intrusive::task_result;
  if (!who.activate(&unit))
    return caf::resumable::done;
  auto taken = size_t{0};
  auto ended = false;
  auto take = [&](caf::mailbox_element& what) {
    switch (is_ordinary(who, what) ? react(who, what) : who.reactivate(what)) {
    case activation_result::terminated: ended = true; return task_result::stop;
    case activation_result::success: return ++taken < messages_max ? task_result::resume : task_result::stop_all;
    case activation_result::skipped: return task_result::skip;
    default: return task_result::resume;
    }
  };
  do {
    who.mailbox().fetch_more();
    who.get_urgent_queue().new_round(normal_quantum * 3, take);
    who.get_normal_queue().new_round(normal_quantum, take);
    if (ended)
      return caf::resumable::done;
    if (who.mailbox().try_block())
      return caf::resumable::awaiting_message;
  } while (taken < messages_max);
  return caf::resumable::resume_later;
}

} // namespace

caf::resumable::resume_result take_turn(caf::resumable& job, caf::execution_unit& unit, size_t messages_max) {
  if (job.subtype() != caf::resumable::scheduled_actor)
    return job.resume(&unit, messages_max);
  return turn_of(static_cast<caf::scheduled_actor&>(job), unit, messages_max);
}

} // namespace perigee::sim
