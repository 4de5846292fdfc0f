#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "pare/prune/channel_graph.hpp"
#include "pare/tensor/tensor.hpp"

namespace pare {

/// The channels of a ChannelGraph in groups that can only go together, and which of them have gone.
class ChannelGroups {
 public:
  /// Follows all couplings of a graph. Errors say which value, coupling or axis contradicts the others: a number that
  /// no value has, a value without channels, counts that a coupling cannot tie together, an axis that is bound twice to
  /// different values.
  static Result<ChannelGroups> create(ChannelGraph graph) {
    ChannelGroups groups(std::move(graph));
    if (Result<void> ok = groups.check_axes(); !ok) return std::move(ok).error();
    for (std::size_t i = 0; i < groups.graph_.couplings.size(); ++i)
      if (Result<void> ok = groups.couple(i); !ok) return std::move(ok).error();
    return groups;
  }

  [[nodiscard]] const ChannelGraph& graph() const noexcept { return graph_; }

  /// The group of a channel: two channels have the same number where they can only go together.
  [[nodiscard]] std::size_t group(std::size_t value, std::size_t channel) const {
    return root(first_[value] + channel);
  }

  /// The channels of a value in their groups, in ascending order of the first of each.
  [[nodiscard]] std::vector<std::vector<std::size_t>> units(std::size_t value) const {
    std::vector<std::vector<std::size_t>> result;
    std::vector<std::size_t> places(parent_.size(), parent_.size());  // by group
    for (std::size_t c = 0; c < graph_.values[value].channels; ++c) {
      std::size_t& place = places[group(value, c)];
      if (place == parent_.size()) {
        place = result.size();
        result.emplace_back();
      }
      result[place].push_back(c);
    }
    return result;
  }

  /// Removes channels of a value and, in every value, all that can only go with them. Errors, after which nothing has
  /// gone: a value or channel that is not there, a channel of a fixed value, by the name of that value; a value that
  /// would be left without channels.
  Result<void> remove(std::size_t value, std::span<const std::size_t> channels) {
    if (value >= graph_.values.size()) return fault("there is no value " + std::to_string(value));
    std::vector<bool> gone = gone_;
    for (const std::size_t channel : channels) {
      if (channel >= graph_.values[value].channels)
        return fault(named(value) + " has no channel " + std::to_string(channel));
      gone[group(value, channel)] = true;
    }
    for (std::size_t v = 0; v < graph_.values.size(); ++v) {
      std::size_t left = 0;
      for (std::size_t c = 0; c < graph_.values[v].channels; ++c)
        if (!gone[group(v, c)]) ++left;
      if (graph_.values[v].fixed && left < graph_.values[v].channels)
        return fault("this would take channels of " + named(v) + ", which is fixed");
      if (left == 0) return fault("this would leave " + named(v) + " without channels");
    }
    gone_ = std::move(gone);
    return {};
  }

  /// The channels of a value that are left, ascending.
  [[nodiscard]] std::vector<std::uint32_t> kept(std::size_t value) const {
    std::vector<std::uint32_t> result;
    for (std::size_t c = 0; c < graph_.values[value].channels; ++c)
      if (!gone_[group(value, c)]) result.push_back(static_cast<std::uint32_t>(c));
    return result;
  }

  /// The elements along an axis of a tensor that are left, ascending; nothing but true for `whole` where no value has
  /// that axis, so that all are.
  struct KeptElements {
    bool whole = true;
    std::vector<std::uint32_t> elements;
  };
  [[nodiscard]] KeptElements kept(const std::string& tensor, std::size_t axis) const {
    for (const ChannelGraph::Axis& bound : graph_.axes) {
      if (bound.tensor != tensor || bound.axis != axis) continue;
      KeptElements result{.whole = false, .elements = {}};
      for (const std::uint32_t channel : kept(bound.value))
        for (std::size_t e = 0; e < bound.each; ++e)
          result.elements.push_back(static_cast<std::uint32_t>(channel * bound.each + e));
      return result;
    }
    return {};
  }

  /// A weight as it is without the rows and columns that have gone; a tensor of more axes is given as [axis 0, axis 1 *
  /// the rest], with `inner` elements of the rest. Errors: a weight that is not as large as its values say,
  /// out_of_memory.
  [[nodiscard]] Result<Matrix<float>> compact(const std::string& tensor, MatrixView<const float> weights,
                                              std::size_t inner = 1, const Options& options = {}) const {
    const KeptElements rows = kept(tensor, 0), columns = kept(tensor, 1);
    if (inner == 0 || weights.cols % inner != 0 || !fits(tensor, 0, weights.rows) ||
        !fits(tensor, 1, weights.cols / inner))
      return fault("the weight " + tensor + " is " + std::to_string(weights.rows) + " x " +
                   std::to_string(weights.cols) + ", which its values do not fit");
    const std::size_t outer = columns.whole ? weights.cols / inner : columns.elements.size();
    auto result =
        Matrix<float>::create({rows.whole ? weights.rows : rows.elements.size(), outer * inner}, options.memory);
    if (!result) return result;
    for (std::size_t r = 0; r < result->rows(); ++r)
      for (std::size_t c = 0; c < outer; ++c)
        for (std::size_t i = 0; i < inner; ++i)
          (*result)(r, c* inner + i) =
              weights(rows.whole ? r : rows.elements[r], (columns.whole ? c : columns.elements[c]) * inner + i);
    return result;
  }

 private:
  using Kind = ChannelGraph::Kind;

  explicit ChannelGroups(ChannelGraph graph) : graph_(std::move(graph)) {
    std::size_t count = 0;
    for (const ChannelGraph::Value& value : graph_.values) {
      first_.push_back(count);
      count += value.channels;
    }
    parent_.resize(count);
    std::iota(parent_.begin(), parent_.end(), std::size_t{0});
    gone_.resize(count);
  }

  static Error fault(const std::string& what) { return {ErrorCode::invalid_argument, "pare: channel graph: " + what}; }
  [[nodiscard]] std::string named(std::size_t value) const { return "\"" + graph_.values[value].name + "\""; }
  [[nodiscard]] std::string counted(std::size_t value) const {
    return named(value) + " (" + std::to_string(graph_.values[value].channels) + ")";
  }

  [[nodiscard]] std::size_t root(std::size_t element) const {
    while (parent_[element] != element) element = parent_[element];
    return element;
  }
  void unite(std::size_t a, std::size_t b) {
    const std::size_t top = root(a), other = root(b), leader = std::min(top, other);
    for (std::size_t element : {a, b})
      while (element != leader) element = std::exchange(parent_[element], leader);
  }
  /// Ties channel `i` of one value to channel `j` of another.
  void tie(std::size_t a, std::size_t i, std::size_t b, std::size_t j) { unite(first_[a] + i, first_[b] + j); }

  [[nodiscard]] bool fits(const std::string& tensor, std::size_t axis, std::size_t extent) const {
    for (const ChannelGraph::Axis& bound : graph_.axes)
      if (bound.tensor == tensor && bound.axis == axis && graph_.values[bound.value].channels * bound.each != extent)
        return false;
    return true;
  }

  [[nodiscard]] Result<void> check_axes() const {
    for (std::size_t v = 0; v < graph_.values.size(); ++v)
      if (graph_.values[v].channels == 0) return fault("value " + named(v) + " has no channels");
    for (std::size_t i = 0; i < graph_.axes.size(); ++i) {
      const ChannelGraph::Axis& axis = graph_.axes[i];
      const std::string place = "axis " + std::to_string(axis.axis) + " of " + axis.tensor;
      if (axis.value >= graph_.values.size()) return fault(place + " is bound to a value that is not there");
      if (axis.each == 0) return fault(place + " has no element for a channel");
      for (std::size_t j = 0; j < i; ++j) {
        const ChannelGraph::Axis& earlier = graph_.axes[j];
        if (earlier.axis == axis.axis && earlier.tensor == axis.tensor &&
            (earlier.value != axis.value || earlier.each != axis.each))
          return fault(place + " is bound to both " + named(earlier.value) + " and " + named(axis.value));
      }
    }
    return {};
  }

  Result<void> couple(std::size_t index) {
    const ChannelGraph::Coupling& coupling = graph_.couplings[index];
    const std::string place = "coupling " + std::to_string(index) + ": ";
    const std::span<const std::size_t> values = coupling.values;
    for (const std::size_t value : values)
      if (value >= graph_.values.size()) return fault(place + "there is no value " + std::to_string(value));
    if (values.empty() || (values.size() == 1 && coupling.kind != Kind::units))
      return fault(place + "it ties nothing together");
    const auto channels = [&](std::size_t i) { return graph_.values[values[i]].channels; };
    switch (coupling.kind) {
      case Kind::same:
        for (std::size_t i = 1; i < values.size(); ++i) {
          if (channels(i) != channels(0))
            return fault(place + counted(values[0]) + " and " + counted(values[i]) + " differ in channels");
          for (std::size_t c = 0; c < channels(0); ++c) tie(values[0], c, values[i], c);
        }
        return {};
      case Kind::parts: {
        std::size_t sum = 0;
        for (std::size_t i = 1; i < values.size(); ++i) sum += channels(i);
        if (sum != channels(0))
          return fault(place + counted(values[0]) + " is not its parts, which have " + std::to_string(sum));
        for (std::size_t i = 1, c = 0; i < values.size(); c += channels(i++))
          for (std::size_t j = 0; j < channels(i); ++j) tie(values[0], c + j, values[i], j);
        return {};
      }
      case Kind::heads:
      case Kind::units:
        return couple_units(coupling, place);
    }
    return fault(place + "it is of no known kind");
  }

  Result<void> couple_units(const ChannelGraph::Coupling& coupling, const std::string& place) {
    for (const std::size_t value : coupling.values) {
      const std::size_t channels = graph_.values[value].channels;
      if (coupling.width == 0 || channels % coupling.width != 0)
        return fault(place + counted(value) + " is not made of units of " + std::to_string(coupling.width));
      for (std::size_t c = 0; c < channels; ++c) tie(value, c / coupling.width * coupling.width, value, c);
    }
    if (coupling.kind == Kind::units) return {};
    const std::size_t queries = graph_.values[coupling.values[0]].channels / coupling.width;
    for (std::size_t i = 1; i < coupling.values.size(); ++i) {
      const std::size_t heads = graph_.values[coupling.values[i]].channels / coupling.width;
      if (queries % heads != 0)
        return fault(place + std::to_string(queries) + " heads of " + named(coupling.values[0]) + " cannot share the " +
                     std::to_string(heads) + " of " + named(coupling.values[i]));
      for (std::size_t q = 0; q < queries; ++q)
        tie(coupling.values[0], q * coupling.width, coupling.values[i], q / (queries / heads) * coupling.width);
    }
    return {};
  }

  ChannelGraph graph_;
  std::vector<std::size_t> first_;   ///< of each value's channels, counted through all values
  std::vector<std::size_t> parent_;  ///< towards the channel that stands for the group
  std::vector<bool> gone_;           ///< by group
};

}  // namespace pare
