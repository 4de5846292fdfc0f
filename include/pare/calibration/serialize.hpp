#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory_resource>
#include <span>
#include <string>
#include <type_traits>
#include <utility>

#include "pare/calibration/channel_statistics.hpp"
#include "pare/calibration/histogram.hpp"
#include "pare/calibration/input_fluctuation.hpp"
#include "pare/calibration/sample_means.hpp"
#include "pare/calibration/sample_ranges.hpp"
#include "pare/calibration/second_moment.hpp"

namespace pare {
namespace detail {

/// Numbers as bytes, little-endian, one after the other; only their count while there is nowhere to put them.
class NumberWriter {
 public:
  NumberWriter() = default;
  explicit NumberWriter(std::uint8_t* place) noexcept : place_(place) {}

  template <class T>
  void operator()(T number) noexcept {
    using Bits = std::conditional_t<sizeof(T) == 8, std::uint64_t, std::uint32_t>;
    if (place_ != nullptr) store_le(place_ + count_, std::bit_cast<Bits>(number), sizeof(T));
    count_ += sizeof(T);
  }
  template <class T>
  void all(std::span<const T> numbers) noexcept {
    for (const T number : numbers) (*this)(number);
  }
  [[nodiscard]] std::size_t count() const noexcept { return count_; }

 private:
  std::uint8_t* place_ = nullptr;
  std::size_t count_ = 0;
};

/// The same read again; 0 behind the end, where it holds nothing more.
class NumberReader {
 public:
  explicit NumberReader(std::span<const std::uint8_t> bytes) noexcept : bytes_(bytes) {}

  template <class T>
  T read() noexcept {
    using Bits = std::conditional_t<sizeof(T) == 8, std::uint64_t, std::uint32_t>;
    short_ = short_ || bytes_.size() < sizeof(T);
    if (short_) return T{};
    const auto bits = static_cast<Bits>(load_le(bytes_.data(), sizeof(T)));
    bytes_ = bytes_.subspan(sizeof(T));
    return std::bit_cast<T>(bits);
  }
  /// Whether what is left is so many parts of `each` bytes.
  [[nodiscard]] bool holds(std::uint64_t count, std::size_t each) const noexcept {
    return !short_ && count == bytes_.size() / each && bytes_.size() % each == 0;
  }

 private:
  std::span<const std::uint8_t> bytes_;
  bool short_ = false;
};

inline Error damaged(const char* what) {
  return {ErrorCode::corrupt_data, std::string("pare: the bytes are no whole ") + what};
}

/// `count` numbers that end what there is to read.
template <class T>
Result<Array<T>> read_rest(NumberReader& reader, std::uint64_t count, const char* what,
                           std::pmr::memory_resource* memory) {
  if (!reader.holds(count, sizeof(T))) return damaged(what);
  auto numbers = Array<T>::create(static_cast<std::size_t>(count), memory);
  if (!numbers) return numbers;
  for (T& number : *numbers) number = reader.read<T>();
  return numbers;
}

/// How one kind of statistics is written and read. `kind` says in the bytes what they hold.
template <class Observer>
struct Serializer;

template <class Real>
struct Serializer<SecondMoment<Real>> {
  static constexpr std::uint32_t kind = sizeof(Real) == 8 ? 1 : 2;
  static constexpr const char* name = "second moment";

  static void write(const SecondMoment<Real>& moment, NumberWriter& out) {
    for (const std::uint64_t number : {std::uint64_t{moment.channels()}, moment.samples(), moment.tokens()})
      out(number);
    const MatrixView<const Real> sum = moment.sum();
    out.all(std::span<const Real>(sum.data, sum.rows * sum.cols));
  }
  static Result<SecondMoment<Real>> read(NumberReader& in, std::pmr::memory_resource* memory) {
    const auto channels = in.read<std::uint64_t>(), samples = in.read<std::uint64_t>(),
               tokens = in.read<std::uint64_t>();
    if (channels >= std::uint64_t{1} << 32) return damaged(name);
    const auto sum = read_rest<Real>(in, channels * channels, name, memory);
    if (!sum) return sum.error();
    return SecondMoment<Real>::restore(static_cast<std::size_t>(channels), samples, tokens, sum->values(), memory);
  }
};

template <>
struct Serializer<ChannelStatistics> {
  static constexpr std::uint32_t kind = 3;
  static constexpr const char* name = "statistics of channels";

  static void write(const ChannelStatistics& statistics, NumberWriter& out) {
    for (const std::uint64_t number :
         {std::uint64_t{statistics.channels().size()}, statistics.samples(), statistics.tokens()})
      out(number);
    for (const ChannelSums& s : statistics.channels()) {
      for (const double number : {s.sum, s.magnitudes, s.squares}) out(number);
      for (const float number : {s.range.lowest, s.range.highest}) out(number);
    }
  }
  static Result<ChannelStatistics> read(NumberReader& in, std::pmr::memory_resource* memory) {
    const auto channels = in.read<std::uint64_t>(), samples = in.read<std::uint64_t>(),
               tokens = in.read<std::uint64_t>();
    if (!in.holds(channels, 32)) return damaged(name);
    auto sums = Array<ChannelSums>::create(static_cast<std::size_t>(channels), memory);
    if (!sums) return std::move(sums).error();
    for (ChannelSums& s : *sums) {
      for (double* number : {&s.sum, &s.magnitudes, &s.squares}) *number = in.read<double>();
      for (float* number : {&s.range.lowest, &s.range.highest}) *number = in.read<float>();
    }
    return ChannelStatistics::restore(sums->values(), samples, tokens, memory);
  }
};

template <>
struct Serializer<Histogram> {
  static constexpr std::uint32_t kind = 4;
  static constexpr const char* name = "histogram";

  static void write(const Histogram& histogram, NumberWriter& out) {
    out(std::uint64_t{histogram.counts().size()});
    for (const float number : {histogram.width(), histogram.largest()}) out(number);
    out.all(histogram.counts());
  }
  static Result<Histogram> read(NumberReader& in, std::pmr::memory_resource* memory) {
    const auto bins = in.read<std::uint64_t>();
    const auto width = in.read<float>(), largest = in.read<float>();
    const auto counts = read_rest<std::uint64_t>(in, bins, name, memory);
    if (!counts) return counts.error();
    return Histogram::restore(counts->values(), width, largest, memory);
  }
};

template <>
struct Serializer<SampleRanges> {
  static constexpr std::uint32_t kind = 5;
  static constexpr const char* name = "list of samples' ranges";

  static void write(const SampleRanges& ranges, NumberWriter& out) {
    for (const std::uint64_t number : {std::uint64_t{ranges.count()}, std::uint64_t{ranges.values().size()}})
      out(number);
    for (const ValueRange& range : ranges.values())
      for (const float number : {range.lowest, range.highest}) out(number);
  }
  static Result<SampleRanges> read(NumberReader& in, std::pmr::memory_resource* memory) {
    const auto count = in.read<std::uint64_t>(), all = in.read<std::uint64_t>();
    if (!in.holds(all, 8) || count >= std::uint64_t{1} << 32) return damaged(name);
    auto values = Array<ValueRange>::create(static_cast<std::size_t>(all), memory);
    if (!values) return std::move(values).error();
    for (ValueRange& range : *values) {
      range.lowest = in.read<float>();
      range.highest = in.read<float>();
    }
    SampleRanges ranges(static_cast<std::size_t>(count), memory);
    if (all == 0) return ranges;
    if (Result<void> ok = ranges.add(values->values()); !ok) return std::move(ok).error();
    return ranges;
  }
};

template <>
struct Serializer<SampleMeans> {
  static constexpr std::uint32_t kind = 6;
  static constexpr const char* name = "list of samples' means";

  static void write(const SampleMeans& means, NumberWriter& out) {
    const MatrixView<const float> values = means.means();
    for (const std::uint64_t number : {std::uint64_t{values.rows}, std::uint64_t{values.cols}}) out(number);
    out.all(std::span<const float>(values.data, values.rows * values.cols));
  }
  static Result<SampleMeans> read(NumberReader& in, std::pmr::memory_resource* memory) {
    const auto samples = in.read<std::uint64_t>(), channels = in.read<std::uint64_t>();
    constexpr std::uint64_t limit = std::uint64_t{1} << 32;
    if (samples >= limit || channels >= limit) return damaged(name);
    const auto values = read_rest<float>(in, samples * channels, name, memory);
    if (!values) return values.error();
    SampleMeans means(static_cast<std::size_t>(channels), memory);
    const MatrixView<const float> view(values->data(), static_cast<std::size_t>(samples),
                                       static_cast<std::size_t>(channels));
    if (Result<void> ok = means.merge(view); !ok) return std::move(ok).error();
    return means;
  }
};

template <>
struct Serializer<InputFluctuation> {
  static constexpr std::uint32_t kind = 7;
  static constexpr const char* name = "fluctuation of inputs";

  static void write(const InputFluctuation& inputs, NumberWriter& out) {
    for (const std::uint64_t number : {std::uint64_t{inputs.channels()}, inputs.samples()}) out(number);
    for (const std::span<const double> row : {inputs.mean(), inputs.fluctuation(), inputs.squares()}) out.all(row);
  }
  static Result<InputFluctuation> read(NumberReader& in, std::pmr::memory_resource* memory) {
    const auto channels = in.read<std::uint64_t>(), samples = in.read<std::uint64_t>();
    if (!in.holds(channels, 24)) return damaged(name);
    const auto values = read_rest<double>(in, 3 * channels, name, memory);
    if (!values) return values.error();
    const auto count = static_cast<std::size_t>(channels);
    return InputFluctuation::restore(samples, values->values().first(count), values->values().subspan(count, count),
                                     values->values().last(count), memory);
  }
};

/// "PAREstat", and the version of all that follows.
inline constexpr std::uint64_t statistics_magic = 0x7461747345524150u;
inline constexpr std::uint32_t statistics_version = 1;

}  // namespace detail

/// Statistics that can be kept as bytes. Models: SecondMoment, ChannelStatistics, Histogram, SampleRanges, SampleMeans,
/// InputFluctuation.
template <class T>
concept Serializable = requires { detail::Serializer<T>::kind; };

/// What was gathered so far as bytes, the same on every machine: for a calibration that is interrupted, or gathered in
/// parts elsewhere and merged. Error: out_of_memory.
template <Serializable Observer>
Result<Array<std::uint8_t>> serialize(const Observer& observer, std::pmr::memory_resource* memory = nullptr) {
  const auto write = [&](detail::NumberWriter writer) {
    writer(detail::statistics_magic);
    writer(detail::statistics_version);
    writer(detail::Serializer<Observer>::kind);
    detail::Serializer<Observer>::write(observer, writer);
    return writer.count();
  };
  auto bytes = Array<std::uint8_t>::create(write({}), memory);
  if (bytes) write(detail::NumberWriter(bytes->data()));
  return bytes;
}

/// What `serialize` wrote, read again. Errors: bytes of something else, of another kind or version, or not whole
/// (corrupt_data); numbers that contradict each other; out_of_memory.
template <Serializable Observer>
Result<Observer> deserialize(std::span<const std::uint8_t> bytes, std::pmr::memory_resource* memory = nullptr) {
  using S = detail::Serializer<Observer>;
  detail::NumberReader reader(bytes);
  const auto magic = reader.read<std::uint64_t>();
  const auto version = reader.read<std::uint32_t>(), kind = reader.read<std::uint32_t>();
  if (magic != detail::statistics_magic || kind != S::kind) return detail::damaged(S::name);
  if (version != detail::statistics_version)
    return Error{ErrorCode::unsupported, "pare: statistics of version " + std::to_string(version) +
                                             " are not known; this is version " +
                                             std::to_string(detail::statistics_version)};
  return S::read(reader, memory);
}

}  // namespace pare
