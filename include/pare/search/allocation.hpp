#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "pare/core/core.hpp"

namespace pare {

/// What one way to store a layer costs (bits, or any other unit) and how much it hurts.
struct LayerOption {
  std::uint64_t cost = 0;
  double error = 0.0;
};

/// An option for each layer.
struct Allocation {
  std::vector<std::size_t> choice;  ///< the option of each layer
  std::uint64_t cost = 0;           ///< of all of them
  double objective = 0.0;           ///< the sum of all errors to the power
  double bound = 0.0;  ///< no choice within the budget has a sum below this; the objective where it is the least
  double largest_error = 0.0;  ///< of one layer
};

/// Chooses an option for each layer so that the sum of error^power is least within a budget: a knapsack with a choice
/// for each layer, solved exactly by Pareto fronts that a Lagrangian bound prunes. EXL2 and SPDY approximate the same
/// by annealing and by rounded costs. `Real` is what powers and their sums are computed in.
template <class Real>
struct BasicAllocator {
  double power = 1.0;  ///< greater ones avoid large errors
  std::size_t states =
      1u << 15;  ///< partial choices kept at a time; where more would be needed, bound says what is open

  /// `layers` has the options of each layer, at least one. O(layers * options * states) at most. Errors: a layer
  /// without options, an error that is no finite number or cannot be raised to the power, a budget that the least costs
  /// exceed.
  Result<Allocation> operator()(std::span<const std::vector<LayerOption>> layers, std::uint64_t budget) const;

 private:
  struct Candidate {
    std::uint64_t cost = 0;  ///< beyond the layer's cheapest option
    Real value{};
    std::size_t option = 0;

    bool operator<(const Candidate& b) const noexcept {
      return cost != b.cost ? cost < b.cost : value != b.value ? value < b.value : option < b.option;
    }
  };
  struct Step {
    Real slope{};
    std::size_t layer = 0, to = 0;

    bool operator<(const Step& b) const noexcept {
      return slope != b.slope ? slope > b.slope : layer != b.layer ? layer < b.layer : to < b.to;
    }
  };
  struct State {
    std::uint64_t cost = 0;
    Real value{};
    std::size_t parent = 0, place = 0;

    bool operator<(const State& b) const noexcept {
      if (cost != b.cost || value != b.value) return cost != b.cost ? cost < b.cost : value < b.value;
      return parent != b.parent ? parent < b.parent : place < b.place;
    }
  };
  /// Where no choice is dearer without being better.
  using Front = std::vector<Candidate>;

  Result<Front> front(std::span<const LayerOption> options, std::size_t layer) const;
  /// The steps along the lower convex hulls of all fronts, the steepest first.
  static std::vector<Step> steps(std::span<const Front> fronts);
  /// Takes the steps that fit and returns the places they lead to; `slope` becomes that of the first that does not.
  static std::vector<std::size_t> greedy(std::span<const Front> fronts, std::uint64_t room, Real& slope);
  /// The best places below the value of those given; `bound` falls to what was left out.
  std::vector<std::size_t> improve(std::span<const Front> fronts, std::uint64_t room, Real slope,
                                   std::vector<std::size_t> places, Real& bound) const;
  static Real value(std::span<const Front> fronts, std::span<const std::size_t> places) {
    Real sum{};
    for (std::size_t i = 0; i < fronts.size(); ++i) sum += fronts[i][places[i]].value;
    return sum;
  }
};

using Allocator = BasicAllocator<double>;

/// The allocation, among those for each of some powers, whose largest error is least, the first of equals: what EXL2
/// looks for with powers from 1.5 to 3.5. Errors as Allocator's, and no powers.
template <class Real = double>
Result<Allocation> allocate_by_largest_error(std::span<const std::vector<LayerOption>> layers, std::uint64_t budget,
                                             std::span<const double> powers) {
  Result<Allocation> best = Error{ErrorCode::invalid_argument, "pare: there is no power to allocate by"};
  for (const double power : powers) {
    auto found = BasicAllocator<Real>{.power = power}(layers, budget);
    if (!found) return found;
    if (!best || found->largest_error < best->largest_error) best = std::move(found);
  }
  return best;
}

template <class Real>
auto BasicAllocator<Real>::front(std::span<const LayerOption> options, std::size_t layer) const -> Result<Front> {
  if (options.empty())
    return Error{ErrorCode::invalid_argument, "pare: layer " + std::to_string(layer) + " has no options"};
  Front all;
  for (std::size_t i = 0; i < options.size(); ++i) {
    all.push_back({options[i].cost, static_cast<Real>(std::pow(options[i].error, power)), i});
    if (!std::isfinite(options[i].error) || !std::isfinite(all.back().value))
      return Error{ErrorCode::invalid_argument, "pare: the error " + std::to_string(options[i].error) + " of layer " +
                                                    std::to_string(layer) + ", option " + std::to_string(i) +
                                                    " has no finite power " + std::to_string(power)};
  }
  std::sort(all.begin(), all.end());
  Front kept;
  for (const Candidate& candidate : all)
    if (kept.empty() || candidate.value < kept.back().value) kept.push_back(candidate);
  for (Candidate& candidate : kept) candidate.cost -= all.front().cost;
  return kept;
}

template <class Real>
auto BasicAllocator<Real>::steps(std::span<const Front> fronts) -> std::vector<Step> {
  std::vector<Step> all;
  for (std::size_t layer = 0; layer < fronts.size(); ++layer) {
    const Front& front = fronts[layer];
    for (std::size_t from = 0; from + 1 < front.size();) {
      Step best{Real{-1}, layer, from};
      for (std::size_t to = from + 1; to < front.size(); ++to) {
        const Real slope = (front[from].value - front[to].value) / static_cast<Real>(front[to].cost - front[from].cost);
        if (slope >= best.slope) best = {slope, layer, to};
      }
      all.push_back(best);
      from = best.to;
    }
  }
  std::sort(all.begin(), all.end());
  return all;
}

template <class Real>
std::vector<std::size_t> BasicAllocator<Real>::greedy(std::span<const Front> fronts, std::uint64_t room, Real& slope) {
  std::vector<std::size_t> places(fronts.size());
  slope = Real{0};
  for (const Step& step : steps(fronts)) {
    const Front& front = fronts[step.layer];
    // Slopes are rounded: a step might stand before the one it follows.
    if (step.to <= places[step.layer]) continue;
    const std::uint64_t more = front[step.to].cost - front[places[step.layer]].cost;
    if (more <= room) {
      room -= more;
      places[step.layer] = step.to;
    } else if (slope == Real{0}) {
      slope = step.slope;
    }
  }
  return places;
}

template <class Real>
std::vector<std::size_t> BasicAllocator<Real>::improve(std::span<const Front> fronts, std::uint64_t room, Real slope,
                                                       std::vector<std::size_t> places, Real& bound) const {
  // The least that the layers from each on can add to value + slope * cost.
  std::vector<Real> rest(fronts.size() + 1);
  for (std::size_t i = fronts.size(); i-- > 0;) {
    Real least = std::numeric_limits<Real>::infinity();
    for (const Candidate& c : fronts[i]) least = std::min(least, c.value + slope * static_cast<Real>(c.cost));
    rest[i] = rest[i + 1] + least;
  }
  const Real known = value(fronts, places);
  std::vector<std::vector<State>> history{{State{}}};
  for (std::size_t i = 0; i < fronts.size(); ++i) {
    const auto least = [&](const State& s) { return s.value + rest[i + 1] - slope * static_cast<Real>(room - s.cost); };
    std::vector<State> next;
    for (std::size_t parent = 0; parent < history.back().size(); ++parent)
      for (std::size_t place = 0; place < fronts[i].size(); ++place) {
        const State& before = history.back()[parent];
        const Candidate& c = fronts[i][place];
        if (c.cost > room - before.cost) break;
        const State state{before.cost + c.cost, before.value + c.value, parent, place};
        if (least(state) < known) next.push_back(state);
      }
    std::sort(next.begin(), next.end());
    std::vector<State> kept;
    for (const State& state : next)
      if (kept.empty() || state.value < kept.back().value) kept.push_back(state);
    if (kept.size() > states) {
      std::sort(kept.begin(), kept.end(), [&](const State& a, const State& b) {
        const Real x = least(a), y = least(b);
        return x != y ? x < y : a.cost < b.cost;
      });
      bound = std::min(bound, least(kept[states]));
      kept.resize(states);
    }
    history.push_back(std::move(kept));
  }
  const State* state = nullptr;
  for (const State& last : history.back())
    if (last.value < (state != nullptr ? state->value : known)) state = &last;
  if (state == nullptr) return places;
  for (std::size_t i = fronts.size(); i-- > 0;) {
    places[i] = state->place;
    state = &history[i][state->parent];
  }
  return places;
}

template <class Real>
Result<Allocation> BasicAllocator<Real>::operator()(std::span<const std::vector<LayerOption>> layers,
                                                    std::uint64_t budget) const {
  std::vector<Front> fronts;
  std::uint64_t room = budget;
  for (std::size_t i = 0; i < layers.size(); ++i) {
    auto found = front(layers[i], i);
    if (!found) return found.error();
    const std::uint64_t least = layers[i][found->front().option].cost;
    if (least > room)
      return Error{ErrorCode::invalid_argument, "pare: the budget of " + std::to_string(budget) +
                                                    " is less than the least that the layers up to number " +
                                                    std::to_string(i) + " cost"};
    room -= least;
    fronts.push_back(*std::move(found));
  }
  Real slope{}, bound = std::numeric_limits<Real>::infinity();
  auto known = greedy(fronts, room, slope);
  const auto places = improve(fronts, room, slope, std::move(known), bound);
  Allocation result;
  for (std::size_t i = 0; i < fronts.size(); ++i) {
    const std::size_t option = fronts[i][places[i]].option;
    result.choice.push_back(option);
    result.cost += layers[i][option].cost;
    result.largest_error = std::max(result.largest_error, layers[i][option].error);
  }
  result.objective = value(fronts, places);
  result.bound = std::min(static_cast<double>(bound), result.objective);
  return result;
}

}  // namespace pare
