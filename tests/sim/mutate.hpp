// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "transport/base/shared_list.hpp"

#include <caf/actor.hpp>

#include <cstddef>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace perigee::sim {

/// An inspector that visits every leaf (number, enum, text) of a value, at any depth, and may change it.
template <class Visit>
class walker {
public:
  explicit walker(Visit visit) : visit_(std::move(visit)) {}

  template <class T>
  struct named {
    T* value;
  };

  template <class T>
  named<T> field(const char*, T& value) {
    return {&value};
  }

  struct object_of {
    walker* self;
    template <class... Ts>
    bool fields(named<Ts>... members) {
      (self->walk(*members.value), ...);
      return true;
    }
  };

  template <class T>
  object_of object(T&) {
    return {this};
  }

  /// Enums come through here.
  template <class Get, class Set>
  bool apply(Get get, Set set) {
    auto number = static_cast<uint64_t>(get());
    if (visit_.number(number))
      set(static_cast<decltype(get())>(number == 0 ? 1 : 0));
    return true;
  }

  template <class T>
  void walk(T& x) {
    if constexpr (std::is_same_v<T, bool>)
      x = visit_.number(x) != x;
    else if constexpr (std::is_arithmetic_v<T>)
      x = visit_.number(x) ? x + 1 : x;
    else if constexpr (std::is_same_v<T, std::string>)
      x += visit_.number(0) ? "x" : "";
    else if constexpr (!std::is_same_v<T, caf::actor>)
      inspect(*this, x);
  }

  template <class T>
    requires requires(T& xs) { xs.resize(1), xs.push_back(xs.front()); } && (!std::is_same_v<T, std::string>)
  void walk(T& xs) {
    visit_.shape(xs);
    for (auto& x : xs)
      walk(x);
  }

  template <class T>
  void walk(shared_list<T>& x) {
    auto items = std::vector<T>(x.begin(), x.end());
    walk(items);
    x = std::move(items);
  }

  template <class T>
  void walk(std::optional<T>& x) {
    if (!x)
      x.emplace();
    walk(*x);
  }

  template <class A, class B>
  void walk(std::pair<A, B>& x) {
    walk(x.first);
    walk(x.second);
  }

  Visit visit_;
};

/// Gives every container two elements.
struct filling {
  bool number(uint64_t) {
    return false;
  }
  template <class T>
  void shape(T& xs) {
    xs.resize(2);
  }
};

/// Changes leaf number `target`; a container is one leaf more: it loses an element.
struct changing {
  size_t target;
  size_t seen = 0;

  bool number(uint64_t) {
    return seen++ == target;
  }
  template <class T>
  void shape(T& xs) {
    if (seen++ == target)
      xs.resize(1);
  }
};

template <class T>
void fill(T& x) {
  walker walk{filling{}};
  walk.walk(x);
}

/// Of a value that `fill` made.
template <class T>
size_t count_leaves(T x) {
  walker walk{changing{static_cast<size_t>(-1)}};
  walk.walk(x);
  return walk.visit_.seen;
}

template <class T>
void change_leaf(T& x, size_t leaf) {
  walker walk{changing{leaf}};
  walk.walk(x);
}

/// An inspector that counts the fields of one struct and looks into none.
struct field_counter {
  size_t count = 0;

  struct object_of {
    field_counter* self;
    template <class... Ts>
    bool fields(Ts...) {
      self->count = sizeof...(Ts);
      return true;
    }
  };

  template <class T>
  object_of object(T&) {
    return {this};
  }

  template <class T>
  bool field(const char*, T&) {
    return true;
  }
};

/// How many fields `inspect` names.
template <class T>
size_t fields_inspected() {
  field_counter counter;
  T x;
  inspect(counter, x);
  return counter.count;
}

struct convertible_to_all {
  template <class T>
  operator T() const;
};

/// How many members a struct without base classes has.
template <class T, class... Members>
constexpr size_t aggregate_size() {
  if constexpr (requires { T{Members{}..., convertible_to_all{}}; })
    return aggregate_size<T, Members..., convertible_to_all>();
  else
    return sizeof...(Members);
}

} // namespace perigee::sim
