#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "pare/layouts/gguf/block_codes.hpp"
#include "pare/layouts/gguf/search_fit.hpp"

namespace pare::gguf::detail {

/// The integers of sub-blocks that a block type can store, and how widely they are searched.
struct SearchLimits {
  int scale_low = 1;
  int scale_high = 1;
  int min_low = 0;
  int min_high = 0;  ///< both 0: no minimums
  int tops = 1;      ///< how many integers are tried for the largest scale
  int min_tops = 1;  ///< and for the largest minimum
  int reach = 1;     ///< how far an integer moves at once
  FitGrid grid{};

  [[nodiscard]] constexpr bool has_min() const noexcept { return min_low != 0 || min_high != 0; }
  [[nodiscard]] constexpr bool signed_minimum() const noexcept { return min_low < 0; }
};

/// Searches the block's two scales, the integers of its sub-blocks and its codes for a small weighted squared error.
/// The result is at least a local minimum: no integer can change by one, nor the two scales move, and lower the error.
template <class Levels, std::size_t N, std::size_t Blocks, SearchLimits Limits>
class JointSearch {
 public:
  static constexpr std::size_t elements = N * Blocks;

  explicit constexpr JointSearch(const SearchBlock<elements>& block) noexcept : block_(block) {
    for (std::size_t j = 0; j < Blocks; ++j) {
      const std::size_t at = j * N;
      const float *x = block.x.data() + at, *w = block.w.data() + at, *wx = block.wx.data() + at;
      fits_[j] = fits_of<keep>(x, w, wx);
      bold_fits_[j] = fits_of<1>(x, w, wx, true);
      least_squares_[j] = least_squares<N>(x, w, wx, rounded_);
    }
  }

  constexpr BlockCodes run() noexcept {
    double remaining = 0.0;
    for (std::size_t j = Blocks; j-- > 0;) {
      remaining += fits_[j].kept[0].error > 0.0 ? fits_[j].kept[0].error : 0.0;
      remaining_[j] = rounded_(remaining * (1.0 - 0x1p-10));
    }
    State best = search();
    double energy = 0.0;
    for (const LeastSquares& sums : least_squares_) energy += sums.xx;
    if (best.error > 0.0 && best.error < rounded_(energy * 0x1p-18)) polish(best);
    if constexpr (Blocks == 1) walk_scales(best);
    return finish(best);
  }

 private:
  static constexpr std::size_t keep = 6;                             // fits of each sub-block
  static constexpr std::size_t keep_first = Blocks == 1 ? keep : 2;  // of them, tried with every scale
  static constexpr std::size_t shortlist_size = Blocks == 1 ? 6 : 3;
  static constexpr double infinite = 0x1p1000;

  /// A choice of everything but the codes, which follow from it.
  struct State {
    std::uint16_t d = 0;
    std::uint16_t dmin = 0;
    std::array<std::int16_t, Blocks> scales{};
    std::array<std::int16_t, Blocks> mins{};
    std::array<float, Blocks> errors{};
    double error = 0.0;
  };

  constexpr State search() noexcept {
    consider_scales();
    State best;
    best.error = infinite;
    for (std::size_t k = 0; k < shortlist_count_; ++k) {
      const State found = improve(shortlist_[k]);
      if (found.error < best.error) best = found;
    }
    return best;
  }

  static constexpr float inverse_of(float unit) noexcept { return unit == 0.0f ? 0.0f : 1.0f / unit; }

  constexpr int to_integer(float value, float inverse, int low, int high) const noexcept {
    return nearest_integer(value, inverse, low, high, rounded_);
  }

  constexpr float error_of(std::size_t j, float d, float dmin, int scale, int minimum) const noexcept {
    alignas(64) std::array<float, N> levels;
    return error_of(j, d, dmin, scale, minimum, levels.data());
  }
  constexpr float error_of(std::size_t j, float d, float dmin, int scale, int minimum, float* levels) const noexcept {
    return sub_block_error<Levels, N>(
        block_.x.data() + j * N, block_.w.data() + j * N, rounded_(d * static_cast<float>(scale)),
        Limits.has_min() ? rounded_(dmin * static_cast<float>(minimum)) : 0.0f, rounded_, levels);
  }

  /// The minimum that suits a fit whose scale is replaced by another.
  constexpr int minimum_for(const Fit& fit, float scale, float inverse_dmin) const noexcept {
    if constexpr (!Limits.has_min()) return 0;
    return to_integer(rounded_((scale - fit.scale) * fit.centre) + fit.minimum, inverse_dmin, Limits.min_low,
                      Limits.min_high);
  }

  /// Real scales for a sub-block; bold ones count large values for more, which leaves them room when the integers of
  /// the scales turn out coarse.
  template <std::size_t Keep>
  constexpr Fits<Keep> fits_of(const float* x, const float* w, const float* wx, bool bold = false) const noexcept {
    alignas(64) std::array<float, N> bold_w, bold_wx;
    if (bold) {
      for (std::size_t i = 0; i < N; ++i) bold_w[i] = size(x[i]);
      const float mean = plain_sum<N>(bold_w.data()) / static_cast<float>(N);
      for (std::size_t i = 0; i < N; ++i) {
        bold_w[i] = w[i] * (size(x[i]) + mean);
        bold_wx[i] = rounded_(bold_w[i] * x[i]);
      }
      w = bold_w.data();
      wx = bold_wx.data();
    }
    FitGrid grid = Limits.grid;
    if (bold) grid.shares = 1;
    if constexpr (Limits.has_min())
      return fit_scale_and_minimum<Levels, N, Keep>(x, w, wx, grid, Limits.signed_minimum(), rounded_);
    else
      return fit_scale<Levels, N, Keep>(x, w, wx, grid, rounded_);
  }

  /// Calls visit(fit) for the first `count` fits that a sub-block may start from, the best first, and the bold one.
  template <class Visit>
  constexpr void for_each_fit(std::size_t j, std::size_t count, Visit&& visit) const noexcept {
    for (std::size_t k = 0; k < fits_[j].count && k < count; ++k) visit(fits_[j].kept[k]);
    visit(bold_fits_[j].kept[0]);
  }

  /// Rounds every sub-block's best fit to integers of the scales. Gives up with an infinite error when `limit` is out
  /// of reach, since no sub-block is better than its fit.
  constexpr State round_fits(std::uint16_t d_bits, std::uint16_t dmin_bits, double limit) const noexcept {
    State state{.d = d_bits, .dmin = dmin_bits};
    const float d = block_.from_f16(d_bits), dmin = block_.from_f16(dmin_bits);
    const float inverse_d = inverse_of(d), inverse_dmin = inverse_of(dmin);
    for (std::size_t j = 0; j < Blocks; ++j) {
      if (state.error + remaining_[j] >= limit) {
        state.error = infinite;
        break;
      }
      state.errors[j] = 0x1p100f;
      int last_scale = Limits.scale_high + 1, last_minimum = 0;
      for_each_fit(j, keep_first, [&](const Fit& fit) {
        const int scale = to_integer(fit.scale, inverse_d, Limits.scale_low, Limits.scale_high);
        const int minimum = minimum_for(fit, rounded_(d * static_cast<float>(scale)), inverse_dmin);
        if (scale == last_scale && minimum == last_minimum) return;
        last_scale = scale;
        last_minimum = minimum;
        const float error = error_of(j, d, dmin, scale, minimum);
        if (error < state.errors[j]) {
          state.errors[j] = error;
          state.scales[j] = static_cast<std::int16_t>(scale);
          state.mins[j] = static_cast<std::int16_t>(minimum);
        }
      });
      state.error += state.errors[j];
    }
    return state;
  }

  constexpr void shortlist(const State& state) noexcept {
    std::size_t at = 0;
    while (at < shortlist_count_ && shortlist_[at].error <= state.error) {
      if (shortlist_[at].d == state.d && shortlist_[at].dmin == state.dmin) return;
      ++at;
    }
    if (at == shortlist_size) return;
    if (shortlist_count_ < shortlist_size) ++shortlist_count_;
    for (std::size_t i = shortlist_count_ - 1; i > at; --i) shortlist_[i] = shortlist_[i - 1];
    shortlist_[at] = state;
  }

  constexpr void try_scales(std::uint16_t d, std::uint16_t dmin) noexcept {
    const double limit = shortlist_count_ == shortlist_size ? shortlist_[shortlist_size - 1].error : infinite;
    const State state = round_fits(d, dmin, limit);
    if (state.error < limit) shortlist(state);
  }

  /// Subnormal halves are so coarse that the neighbours of the nearest are worth a try.
  template <class Try>
  static constexpr void with_neighbours(std::uint16_t bits, Try&& attempt) noexcept {
    attempt(bits);
    const unsigned magnitude = bits & 0x7fffu, sign = bits & 0x8000u;
    if (magnitude >= 0x0400u) return;
    for (unsigned up = 1; up <= 2; ++up) attempt(static_cast<std::uint16_t>(sign | (magnitude + up)));
    if (magnitude > 0) attempt(static_cast<std::uint16_t>(sign | (magnitude - 1)));
  }

  /// Fills the shortlist with scales that make the largest fit one of the largest integers.
  constexpr void consider_scales() noexcept {
    if constexpr (Blocks == 1) {
      for_each_fit(0, keep, [&](const Fit& fit) {
        with_neighbours(block_.to_f16(fit.scale), [&](std::uint16_t d) {
          with_neighbours(block_.to_f16(-fit.minimum), [&](std::uint16_t dmin) { try_scales(d, dmin); });
        });
      });
      return;
    }
    consider_scales_of(fits_);
    consider_scales_of(bold_fits_);
  }

  template <std::size_t Keep>
  constexpr void consider_scales_of(const std::array<Fits<Keep>, Blocks>& all) noexcept {
    std::size_t widest = 0;
    float top_min = 0.0f;
    for (std::size_t j = 0; j < Blocks; ++j) {
      widest = size(all[j].kept[0].scale) > size(all[widest].kept[0].scale) ? j : widest;
      top_min = all[j].kept[0].minimum > top_min ? all[j].kept[0].minimum : top_min;
    }
    const std::uint16_t dmin = block_.to_f16(Limits.has_min() ? top_min / static_cast<float>(Limits.min_high) : 0.0f);
    for (std::size_t k = 0; k < all[widest].count; ++k)
      for (int t = 0; t < Limits.tops; ++t) {
        constexpr int low = Limits.scale_low, high = Limits.scale_high;
        with_neighbours(block_.to_f16(all[widest].kept[k].scale / static_cast<float>(-low > high ? low + t : high - t)),
                        [&](std::uint16_t d) { try_scales(d, dmin); });
      }
    if constexpr (Limits.has_min()) {
      const auto first = shortlist_;
      const std::size_t count = shortlist_count_;
      for (std::size_t k = 0; k < count; ++k)
        for (int t = 0; t < Limits.min_tops; ++t)
          with_neighbours(block_.to_f16(top_min / static_cast<float>(Limits.min_high - t)),
                          [&](std::uint16_t other) { try_scales(first[k].d, other); });
    }
  }

  /// Takes other integers for a sub-block if they have a smaller error.
  constexpr bool attempt(State& state, std::size_t j, float d, float dmin, int scale, int minimum) const noexcept {
    if (scale < Limits.scale_low || scale > Limits.scale_high || minimum < Limits.min_low || minimum > Limits.min_high)
      return false;
    const float error = error_of(j, d, dmin, scale, minimum);
    if (!(error < state.errors[j])) return false;
    state.errors[j] = error;
    state.scales[j] = static_cast<std::int16_t>(scale);
    state.mins[j] = static_cast<std::int16_t>(minimum);
    return true;
  }

  /// Moves the integers of one sub-block while that lowers its error.
  constexpr void climb(State& state, std::size_t j, float d, float dmin) const noexcept {
    const Fit& fit = fits_[j].kept[0];
    bool moved = true;
    for (int round = 0; moved && round < 8; ++round) {
      moved = false;
      const int scale = state.scales[j], minimum = state.mins[j];
      if constexpr (Limits.scale_low < Limits.scale_high)
        for (int step = -Limits.reach; step <= Limits.reach; ++step) {
          if (step == 0) continue;
          int shift = 0;
          if constexpr (Limits.has_min())
            shift = to_integer(rounded_(d * static_cast<float>(step)) * fit.centre, inverse_of(dmin), -Limits.min_high,
                               Limits.min_high);
          moved |= attempt(state, j, d, dmin, scale + step, minimum + shift);
          if (shift != 0) moved |= attempt(state, j, d, dmin, scale + step, minimum);
        }
      if constexpr (Limits.min_low < Limits.min_high)
        for (const int step : {-1, 1}) moved |= attempt(state, j, d, dmin, scale, minimum + step);
    }
  }

  /// Calls visit(level) for levels near the ends, or for all of a type with one scale, but for zero.
  template <class Visit>
  static constexpr void for_each_end(Visit&& visit) noexcept {
    constexpr int ends = Blocks == 1 || Levels::count < 12 ? Levels::count : 6;
    for (int code = 0; code < Levels::count; ++code)
      if ((code < ends || code >= Levels::count - ends) && Levels::level(code) != 0.0f) visit(Levels::level(code));
  }

  /// For a block that the levels hold almost exactly, so that the rounding of the scales to f16 is all that is left:
  /// gives it many more chances, by all the products of a level and an integer that the largest value can be.
  constexpr void polish(State& best) const noexcept {
    std::array<float, Blocks> lowest{};
    float least = 0.0f;
    for (std::size_t j = 0; j < Blocks; ++j) {
      for (std::size_t i = 0; i < N; ++i) lowest[j] = block_.x[j * N + i] < lowest[j] ? block_.x[j * N + i] : lowest[j];
      least = lowest[j] < least ? lowest[j] : least;
    }
    polish_d(best, State(best), Limits.scale_high);
    if constexpr (Limits.has_min()) {
      State base = best;
      base.dmin = 0;
      if constexpr (Limits.min_low == 0) base.mins = {};
      polish_d(best, base, Limits.scale_high);
      for (int integer = Limits.min_high; 2 * integer > Limits.min_high && integer > 0; --integer) {
        base.dmin = block_.to_f16(-least / static_cast<float>(integer));
        const float inverse = inverse_of(block_.from_f16(base.dmin));
        for (std::size_t j = 0; j < Blocks; ++j)
          base.mins[j] = static_cast<std::int16_t>(to_integer(-lowest[j], inverse, 0, Limits.min_high));
        polish_d(best, base, 4);
      }
    }
  }

  /// Tries scales that make the largest value of a state a level times one of `integers` integers.
  constexpr void polish_d(State& best, const State& base, int integers) const noexcept {
    const float dmin = block_.from_f16(base.dmin);
    std::array<float, Blocks> peaks{};
    std::size_t widest = 0;
    for (std::size_t j = 0; j < Blocks; ++j) {
      const float lift = rounded_(dmin * static_cast<float>(base.mins[j]));
      for (std::size_t i = 0; i < N; ++i) {
        const float lifted = block_.x[j * N + i] + lift;
        peaks[j] = size(lifted) > size(peaks[j]) ? lifted : peaks[j];
      }
      widest = size(peaks[j]) > size(peaks[widest]) ? j : widest;
    }
    State trial = base;
    const auto try_d = [&](std::uint16_t bits) {
      trial.d = bits;
      trial.dmin = base.dmin;
      trial.mins = base.mins;
      trial.error = 0.0;
      const float d = block_.from_f16(bits), inverse = inverse_of(d);
      for (std::size_t j = 0; j < Blocks && trial.error < best.error; ++j) {
        trial.errors[j] = 0x1p100f;
        int last = Limits.scale_high + 1;
        for_each_end([&](float level) {
          const int scale = to_integer(peaks[j] / level, inverse, Limits.scale_low, Limits.scale_high);
          if (scale != last) attempt(trial, j, d, dmin, scale, trial.mins[j]);
          last = scale;
        });
        trial.error += trial.errors[j];
      }
      if (!(trial.error < best.error)) return;
      settle_scales(trial);
      best = trial;
    };
    for (const int end : {Limits.scale_high, Limits.scale_low})
      for (int t = 0; t < integers && 2 * t <= (end > 0 ? end : -end) && end != 0; ++t)
        for_each_end([&](float level) {
          try_d(block_.to_f16(peaks[widest] / (level * static_cast<float>(end > 0 ? end - t : end + t))));
        });
  }

  /// The sums of a state's normal equations: a d - b dmin = p, c dmin - b d = -q.
  struct Normal {
    double a = 0.0, b = 0.0, c = 0.0, p = 0.0, q = 0.0;
  };
  constexpr Normal normal_equations(const State& state) const noexcept {
    Normal n;
    const float d = block_.from_f16(state.d), dmin = block_.from_f16(state.dmin);
    for (std::size_t j = 0; j < Blocks; ++j) {
      alignas(64) std::array<float, N> levels;
      error_of(j, d, dmin, state.scales[j], state.mins[j], levels.data());
      const LevelSums sums = level_sums<N>(block_.w.data() + j * N, block_.wx.data() + j * N, levels.data(), rounded_);
      const double scale = state.scales[j], minimum = state.mins[j];
      n.a += rounded_(rounded_(scale * scale) * sums.ll);
      n.b += rounded_(rounded_(scale * minimum) * sums.l);
      n.c += rounded_(rounded_(minimum * minimum) * least_squares_[j].weight);
      n.p += rounded_(scale * sums.xl);
      n.q += rounded_(minimum * least_squares_[j].x);
    }
    return n;
  }
  constexpr std::uint16_t best_d(const Normal& n, std::uint16_t dmin) const noexcept {
    return n.a > 0.0 ? block_.to_f16((n.p + rounded_(n.b * block_.from_f16(dmin))) / n.a) : std::uint16_t{0};
  }
  constexpr std::uint16_t best_dmin(const Normal& n, std::uint16_t d) const noexcept {
    const double best = n.c > 0.0 ? (rounded_(n.b * block_.from_f16(d)) - n.q) / n.c : 0.0;
    return block_.to_f16(best < 0.0 && !Limits.signed_minimum() ? 0.0 : best);
  }

  /// The least-squares scales for the integers and levels of a state: each rounded first, with the other to suit it.
  constexpr std::array<State, 2> refit(const State& state) const noexcept {
    const Normal n = normal_equations(state);
    std::array<State, 2> next{state, state};
    if constexpr (!Limits.has_min()) {
      next[0].d = next[1].d = best_d(n, 0);
    } else {
      const double determinant = rounded_(n.a * n.c) - rounded_(n.b * n.b);
      if (determinant > 0.0) {
        next[0].d = block_.to_f16((rounded_(n.p * n.c) - rounded_(n.q * n.b)) / determinant);
        const double minimum = (rounded_(n.p * n.b) - rounded_(n.q * n.a)) / determinant;
        next[1].dmin = block_.to_f16(minimum < 0.0 && !Limits.signed_minimum() ? 0.0 : minimum);
      }
      next[0].dmin = best_dmin(n, next[0].d);
      next[1].d = best_d(n, next[1].dmin);
    }
    return next;
  }

  constexpr void evaluate(State& state) const noexcept {
    const float d = block_.from_f16(state.d), dmin = block_.from_f16(state.dmin);
    state.error = 0.0;
    for (std::size_t j = 0; j < Blocks; ++j) {
      state.errors[j] = error_of(j, d, dmin, state.scales[j], state.mins[j]);
      state.error += state.errors[j];
    }
  }

  constexpr void climb(State& state) const noexcept {
    const float d = block_.from_f16(state.d), dmin = block_.from_f16(state.dmin);
    state.error = 0.0;
    for (std::size_t j = 0; j < Blocks; ++j) {
      climb(state, j, d, dmin);
      state.error += state.errors[j];
    }
  }

  /// Tries the fits that have not been yet.
  constexpr void try_fits(State& state) const noexcept {
    const float d = block_.from_f16(state.d), dmin = block_.from_f16(state.dmin);
    const float inverse_d = inverse_of(d), inverse_dmin = inverse_of(dmin);
    state.error = 0.0;
    for (std::size_t j = 0; j < Blocks; ++j) {
      for (std::size_t k = keep_first; k < fits_[j].count; ++k) {
        const Fit& fit = fits_[j].kept[k];
        const int scale = to_integer(fit.scale, inverse_d, Limits.scale_low, Limits.scale_high);
        attempt(state, j, d, dmin, scale, minimum_for(fit, rounded_(d * static_cast<float>(scale)), inverse_dmin));
      }
      state.error += state.errors[j];
    }
  }

  /// Replaces the block's scales by better ones as long as there are some.
  constexpr void settle_scales(State& state) const noexcept {
    for (int round = 0; round < 6; ++round) {
      const State before = state;
      for (State next : refit(before)) {
        if (next.d == before.d && next.dmin == before.dmin) continue;
        evaluate(next);
        if (next.error < state.error) state = next;
      }
      if (!(state.error < before.error)) return;
    }
  }

  /// Moves the scales of a block without sub-blocks from one f16 to others near it while that lowers the error.
  constexpr void walk_scales(State& state) const noexcept {
    constexpr int reach = 6;
    for (bool moved = true; moved;) {
      moved = false;
      const State before = state;
      for (int step = -reach; step <= reach; ++step)
        for (const bool of_minimum : {false, true}) {
          if (step == 0 || (of_minimum && !Limits.has_min())) continue;
          State next = before;
          std::uint16_t& bits = of_minimum ? next.dmin : next.d;
          const int magnitude = (bits & 0x7fff) + step;
          if (magnitude < 0 || magnitude >= static_cast<int>(F16::infinity_code)) continue;
          bits = static_cast<std::uint16_t>((bits & 0x8000) | magnitude);
          evaluate(next);
          if (!(next.error < state.error)) continue;
          state = next;
          moved = true;
        }
    }
  }

  constexpr State improve(State state) const noexcept {
    for (int round = 0; round < 4; ++round) {
      const double before = state.error;
      if (round == 0) try_fits(state);
      climb(state);
      if (round > 0 && !(state.error < before)) break;
      settle_scales(state);
    }
    return state;
  }

  constexpr BlockCodes finish(const State& state) const noexcept {
    BlockCodes out;
    out.d = state.d;
    out.dmin = state.dmin;
    const float d = block_.from_f16(state.d), dmin = block_.from_f16(state.dmin);
    for (std::size_t j = 0; j < Blocks; ++j) {
      out.scales[j] = state.scales[j];
      out.mins[j] = state.mins[j];
      alignas(64) std::array<float, N> levels;
      error_of(j, d, dmin, state.scales[j], state.mins[j], levels.data());
      for (std::size_t i = 0; i < N; ++i) out.codes[j * N + i] = Levels::code(levels[i]);
    }
    return out;
  }

  const SearchBlock<elements>& block_;
  Rounded rounded_;
  std::array<Fits<keep>, Blocks> fits_{};
  std::array<Fits<1>, Blocks> bold_fits_{};
  std::array<LeastSquares, Blocks> least_squares_{};
  std::array<double, Blocks> remaining_{};  ///< the errors of the fits from a sub-block on
  std::array<State, shortlist_size> shortlist_{};
  std::size_t shortlist_count_ = 0;
};

}  // namespace pare::gguf::detail
