#include <gtest/gtest.h>
#include <hwy/targets.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "pare/kernels/compiled.hpp"
#include "pare/kernels/kernels.hpp"

namespace {

using namespace pare;

/// Runs every test once for each target that is compiled and that this processor has.
class OnTarget : public testing::TestWithParam<std::int64_t> {
 protected:
  void SetUp() override { hwy::SetSupportedTargetsForTest(GetParam()); }
  void TearDown() override { hwy::SetSupportedTargetsForTest(0); }
};

INSTANTIATE_TEST_SUITE_P(Targets, OnTarget, testing::ValuesIn(hwy::SupportedAndGeneratedTargets()),
                         [](const auto& target) { return std::string(hwy::TargetName(target.param)); });

template <class... F, class Function>
void for_each_format(FormatList<F...>, Function&& f) {
  (f(std::type_identity<F>{}), ...);
}

/// Values that meet every branch: normal ones, ties of small integers, zeros of both signs, tiny, huge and, on request,
/// NaN and infinities.
std::vector<float> values(std::size_t n, unsigned seed, bool specials) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> x(n);
  for (std::size_t i = 0; i < n; ++i) {
    const auto kind = random() % 16;
    x[i] = kind == 0   ? 0.0f
           : kind == 1 ? -0.0f
           : kind == 2 ? 0.5f * static_cast<float>(static_cast<int>(random() % 31) - 15)
           : kind == 3 ? normal(random) * 1e-30f
                       : normal(random);
    if (specials && random() % 64 == 0) {
      constexpr float infinity = std::numeric_limits<float>::infinity();
      constexpr float special[] = {std::numeric_limits<float>::quiet_NaN(), infinity, -infinity, 3e38f, 1e-45f};
      x[i] = special[random() % 5];
    }
  }
  return x;
}

template <class T>
std::vector<T> as(const std::vector<float>& x) {
  std::vector<T> out;
  for (const float v : x) out.push_back(static_cast<T>(v));
  return out;
}

template <class T>
bool same_bytes(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0);
}

/// The same, but for which NaN: that is the processor's choice where an infinite scale meets 0.
template <class T>
bool same_values(const std::vector<T>& expected, std::vector<T> actual) {
  for (std::size_t i = 0; i < std::min(expected.size(), actual.size()); ++i)
    if (is_nan(static_cast<float>(expected[i])) && is_nan(static_cast<float>(actual[i]))) actual[i] = expected[i];
  return same_bytes(expected, actual);
}

constexpr std::size_t lengths[] = {1, 7, 31, 32, 33, 64, 100, 128, 515, 1024};
constexpr std::size_t groups[] = {1, 5, 16, 32, 48, 64, 128, std::numeric_limits<std::size_t>::max()};

/// As many values as kernels begin to fetch before they are read.
constexpr std::size_t many = std::size_t{1} << 20;

template <Format F>
BlockParameters parameters_of(const Range& range) {
  if constexpr (UnsignedFormat<F>)
    return Asymmetric::parameters<F32>(range, F::max);
  else
    return Symmetric::parameters<F32>(range, F::max);
}

template <class T>
void expect_ranges() {
  for (const bool specials : {false, true})
    for (const std::size_t n : lengths)
      for (const std::size_t group : groups) {
        const std::vector<T> x = as<T>(values(n, static_cast<unsigned>(n + group), specials));
        std::vector<Range> expected(ceil_div(n, group)), actual(expected.size());
        ReferenceKernels::find_range(x.data(), n, group, expected.data());
        HighwayKernels::find_range(x.data(), n, group, actual.data(), specials ? many : 0);
        for (std::size_t g = 0; g < expected.size(); ++g) {
          EXPECT_EQ(std::bit_cast<std::uint32_t>(expected[g].lowest), std::bit_cast<std::uint32_t>(actual[g].lowest));
          EXPECT_EQ(std::bit_cast<std::uint32_t>(expected[g].highest), std::bit_cast<std::uint32_t>(actual[g].highest));
          EXPECT_EQ(expected[g].finite, actual[g].finite);
        }
      }
}

TEST_P(OnTarget, FindsTheRangesOfTheReference) {
  expect_ranges<float>();
  expect_ranges<Half>();
  expect_ranges<BFloat16>();
}

/// What a block's parameters are, to the bit.
std::array<std::uint32_t, 6> bits_of(const BlockParameters& p) {
  return {std::bit_cast<std::uint32_t>(p.scale),
          std::bit_cast<std::uint32_t>(p.inverse),
          p.scale_code,
          std::uint32_t{p.zero_point},
          std::uint32_t{p.finite},
          std::uint32_t{p.bounded}};
}

template <Symmetry Rule, ScaleFormat S>
void expect_parameters() {
  std::mt19937 random(S::bits);
  const auto magnitude = [&] {
    if (random() % 8 == 0) return 0.0f;
    if (random() % 2 == 0) return std::bit_cast<float>(static_cast<std::uint32_t>(random() % 0x7f800000u));
    return std::ldexp(1.0f + static_cast<float>(random() % 1024) / 1024.0f, static_cast<int>(random() % 40) - 20);
  };
  for (const float format_max : {1.0f, 3.0f, 6.0f, 7.0f, 15.0f, 127.0f, 255.0f, 448.0f, 57344.0f}) {
    if (Rule::has_zero_point && format_max > 255.0f) continue;
    std::vector<Range> ranges(203);
    for (Range& range : ranges) range = {-magnitude() + 0.0f, magnitude(), random() % 16 != 0};
    std::vector<BlockParameters> expected(ranges.size()), actual(ranges.size());
    ReferenceKernels::derive_parameters<Rule, S>(ranges.data(), ranges.size(), format_max, expected.data());
    HighwayKernels::derive_parameters<Rule, S>(ranges.data(), ranges.size(), format_max, actual.data());
    for (std::size_t i = 0; i < ranges.size(); ++i) {
      EXPECT_EQ(bits_of(expected[i]), bits_of(actual[i]))
          << S::name() << ", range " << ranges[i].lowest << " .. " << ranges[i].highest << ", max " << format_max;
    }
  }
}

TEST_P(OnTarget, DerivesTheParametersOfTheReference) {
  for_each_format(ScaleFormats{}, []<class S>(std::type_identity<S>) {
    expect_parameters<Symmetric, S>();
    if constexpr (S::kind != FormatKind::exponent) expect_parameters<Asymmetric, S>();
  });
}

template <Symmetry Rule, ScaleFormat S, class T>
void expect_found_parameters() {
  for (const bool specials : {false, true})
    for (const std::size_t n : {1u, 100u, 512u, 1024u, 2100u})
      for (const std::size_t group : groups) {
        std::vector<T> x = as<T>(values(n, static_cast<unsigned>(n + group), false));
        if (specials) x[n / 2] = static_cast<T>(std::numeric_limits<float>::quiet_NaN());
        struct Found {
          std::vector<BlockParameters> parameters;
          std::vector<std::uint8_t> scales, zero_points;
        };
        const std::size_t count = ceil_div(n, group);
        Found expected{std::vector<BlockParameters>(count), std::vector<std::uint8_t>(count * (S::bits / 8)),
                       std::vector<std::uint8_t>(Rule::has_zero_point ? count : 0)};
        Found actual = expected;
        ReferenceKernels::find_parameters<Rule, S>(x.data(), n, group, 7.0f, expected.parameters.data(),
                                                   expected.scales.data(), expected.zero_points.data());
        HighwayKernels::find_parameters<Rule, S>(x.data(), n, group, 7.0f, actual.parameters.data(),
                                                 actual.scales.data(), actual.zero_points.data());
        for (std::size_t g = 0; g < count; ++g)
          EXPECT_EQ(bits_of(expected.parameters[g]), bits_of(actual.parameters[g]))
              << S::name() << ", n " << n << ", group " << group;
        EXPECT_EQ(expected.scales, actual.scales);
        EXPECT_EQ(expected.zero_points, actual.zero_points);
      }
}

TEST_P(OnTarget, FindsTheParametersOfTheReference) {
  for_each_format(ScaleFormats{}, []<class S>(std::type_identity<S>) {
    expect_found_parameters<Symmetric, S, float>();
    expect_found_parameters<Symmetric, S, Half>();
    if constexpr (S::kind != FormatKind::exponent) {
      expect_found_parameters<Asymmetric, S, float>();
      expect_found_parameters<Asymmetric, S, BFloat16>();
    }
  });
}

TEST_P(OnTarget, DecodesTheScalesOfTheReference) {
  for_each_format(ScaleFormats{}, []<class S>(std::type_identity<S>) {
    std::mt19937 random(S::bits);
    std::vector<std::uint8_t> stored(65536 * S::bits / 8 + 3);
    for (std::uint8_t& byte : stored) byte = static_cast<std::uint8_t>(random());
    for (const std::size_t n : {0u, 1u, 15u, 16u, 37u, 65536u}) {
      std::vector<float> expected(n), actual(n);
      ReferenceKernels::decode_scales<S>(stored.data() + 3, n, expected.data());
      HighwayKernels::decode_scales<S>(stored.data() + 3, n, actual.data());
      EXPECT_TRUE(same_bytes(expected, actual)) << S::name() << ", n " << n;
    }
  });
}

template <Format F, class T>
void expect_codes() {
  for (const bool specials : {false, true})
    for (const std::size_t n : lengths)
      for (const std::size_t group : groups) {
        const std::vector<T> x = as<T>(values(n, static_cast<unsigned>(n * 3 + group), specials));
        std::vector<Range> ranges(ceil_div(n, group));
        ReferenceKernels::find_range(x.data(), n, group, ranges.data());
        std::vector<BlockParameters> parameters;
        for (const Range& range : ranges) parameters.push_back(parameters_of<F>(range));
        std::vector<std::uint8_t> expected(packed_bytes(n, F::bits)), actual(expected.size(), 0xaa);
        ReferenceKernels::encode<F>(x.data(), n, group, parameters.data(), expected.data());
        HighwayKernels::encode<F>(x.data(), n, group, parameters.data(), actual.data(), specials ? many : 0);
        EXPECT_EQ(expected, actual) << F::name() << ", n " << n << ", group " << group;
      }
}

TEST_P(OnTarget, EncodesTheBytesOfTheReference) {
  for_each_format(CodeFormats{}, []<class F>(std::type_identity<F>) {
    expect_codes<F, float>();
    expect_codes<F, Half>();
    expect_codes<F, BFloat16>();
  });
}

TEST(Bounds, LeaveTheLargestCode) {
  for_each_format(CodeFormats{}, []<class F>(std::type_identity<F>) {
    if constexpr (!UnsignedFormat<F>) {
      EXPECT_EQ(F::encode(F::max * bounded_by), F::encode(F::max)) << F::name();
      EXPECT_EQ(F::encode(-F::max * bounded_by), F::encode(-F::max)) << F::name();
    }
  });
}

/// Every value of a format, the midpoints between them, and the floats beside those; then what no code reaches.
template <Format F>
std::vector<float> hard_values() {
  std::vector<float> codes;
  for (std::uint32_t c = 0; c < (1u << F::bits); ++c)
    if (is_finite(F::decode(c))) codes.push_back(F::decode(c));
  std::ranges::sort(codes);
  std::vector<float> x;
  for (std::size_t i = 0; i < codes.size(); ++i)
    for (const float v : {codes[i], 0.5f * codes[i] + 0.5f * codes[i == 0 ? 0 : i - 1]})
      for (const float to : {-std::numeric_limits<float>::max(), v, std::numeric_limits<float>::max()})
        for (const float sign : {1.0f, -1.0f}) x.push_back(sign * std::nextafter(v, to));
  for (const float v : {1e3f, 2.2e9f, 1e20f, 3.4e38f, 1e-45f, 1e-30f})
    for (const float sign : {1.0f, -1.0f}) x.push_back(sign * v);
  x.resize((x.size() + 127) / 128 * 128 + 40, 0.25f);
  return x;
}

TEST_P(OnTarget, EncodesTiesAndWhatIsOutOfRange) {
  for_each_format(CodeFormats{}, []<class F>(std::type_identity<F>) {
    const std::vector<float> x = hard_values<F>();
    for (const std::size_t group : {std::size_t{32}, std::size_t{64}, std::size_t{96}, x.size()})
      for (const float inverse : {1.0f, 0.0f, 1e30f, 0x1p126f, 0x1p-100f}) {
        std::vector<BlockParameters> parameters(ceil_div(x.size(), group), {.scale = 1.0f, .inverse = inverse});
        if (UnsignedFormat<F>)
          for (std::size_t g = 0; g < parameters.size(); ++g)
            parameters[g].zero_point = static_cast<std::uint8_t>(g * 5 % (1u << F::bits));
        std::vector<std::uint8_t> expected(packed_bytes(x.size(), F::bits)), actual(expected.size(), 0xaa);
        ReferenceKernels::encode<F>(x.data(), x.size(), group, parameters.data(), expected.data());
        HighwayKernels::encode<F>(x.data(), x.size(), group, parameters.data(), actual.data());
        EXPECT_EQ(expected, actual) << F::name() << ", group " << group << ", inverse " << inverse;
      }
  });
}

template <Format F, class T>
void expect_values() {
  std::mt19937 random(F::bits);
  constexpr float hard[] = {0.0f, -1.1f, 3e38f, std::numeric_limits<float>::infinity(), 1e-39f, 1e-45f};
  for (const std::size_t n : lengths)
    for (const std::size_t group : groups)
      for (const std::size_t offset : {0u, 32u, 40u}) {
        if (offset >= group) continue;
        std::vector<std::uint8_t> codes(packed_bytes(n, F::bits)), zero_points(ceil_div(n + offset, group));
        for (auto& byte : codes) byte = static_cast<std::uint8_t>(random());
        for (auto& z : zero_points) z = static_cast<std::uint8_t>(random() % (1u << F::bits));
        std::vector<float> scales(zero_points.size());
        for (auto& s : scales)
          s = random() % 8 == 0 ? hard[random() % 6] : std::ldexp(1.1f, static_cast<int>(random() % 9));
        std::vector<T> expected(n), actual(n);
        ReferenceKernels::decode<F>(codes.data(), n, group, offset, scales.data(), zero_points.data(), expected.data());
        HighwayKernels::decode<F>(codes.data(), n, group, offset, scales.data(), zero_points.data(), actual.data());
        EXPECT_TRUE(same_values(expected, actual))
            << F::name() << ", n " << n << ", group " << group << ", offset " << offset;
      }
}

TEST_P(OnTarget, DecodesTheBytesOfTheReference) {
  for_each_format(CodeFormats{}, []<class F>(std::type_identity<F>) {
    expect_values<F, float>();
    expect_values<F, Half>();
    expect_values<F, BFloat16>();
  });
}

template <int Bits>
void expect_streams() {
  std::mt19937 random(Bits);
  for (const std::size_t n : lengths) {
    std::vector<std::uint8_t> codes(n);
    for (auto& code : codes) code = static_cast<std::uint8_t>(random());
    std::vector<std::uint8_t> expected(packed_bytes(n, Bits)), actual(expected.size(), 0xaa);
    ReferenceKernels::pack<Bits>(codes.data(), n, expected.data());
    HighwayKernels::pack<Bits>(codes.data(), n, actual.data());
    EXPECT_EQ(expected, actual) << Bits << " bits, n " << n;
    std::vector<std::uint8_t> unpacked(n);
    HighwayKernels::unpack<Bits>(actual.data(), n, unpacked.data());
    for (auto& code : codes) code = static_cast<std::uint8_t>(code & ((1u << Bits) - 1u));
    EXPECT_EQ(unpacked, codes) << Bits << " bits, n " << n;
  }
}

TEST_P(OnTarget, PacksAndUnpacksTheStreamsOfTheReference) {
  [&]<int... Bits>(std::integer_sequence<int, Bits...>) {
    (expect_streams<Bits + 2>(), ...);
  }(std::make_integer_sequence<int, 7>{});
}

TEST_P(OnTarget, CopiesPastTheCachesFromAndToAnywhere) {
  std::vector<std::uint8_t> from(400);
  for (std::size_t i = 0; i < from.size(); ++i) from[i] = static_cast<std::uint8_t>(i * 7 + 1);
  for (std::size_t begin = 0; begin < 70; ++begin)
    for (const std::size_t n : {0u, 1u, 5u, 63u, 64u, 65u, 130u, 300u}) {
      std::vector<std::uint8_t> to(400, 0), expected(to);
      std::copy_n(from.begin() + 3, n, expected.begin() + static_cast<std::ptrdiff_t>(begin));
      HighwayKernels::copy_past_caches(from.data() + 3, n, to.data() + begin);
      HighwayKernels::flush_copies();
      EXPECT_EQ(to, expected) << n << " bytes to " << begin;
    }
}

TEST_P(OnTarget, SumsProductsInTheOrderOfTheReference) {
  constexpr std::size_t stride = 1100;
  for (const bool tiny : {false, true})
    for (const std::size_t m : {1u, 2u, 8u, 9u})
      for (const std::size_t n : {1u, 3u, 4u, 17u}) {
        std::vector<float> x = values(m * stride, 5, false), w = values(n * stride, 6, false);
        // Products at the edge of the subnormal numbers round there.
        if (tiny)
          for (float& v : x) v *= 1e-38f;
        for (const std::size_t k : {0u, 1u, 15u, 16u, 17u, 400u, 1024u, 1100u}) {
          std::vector<float> expected(m * n, 0.25f), actual(m * n, 0.25f);
          ReferenceKernels::accumulate_products(x.data(), m, stride, w.data(), n, stride, k, expected.data(), n);
          HighwayKernels::accumulate_products(x.data(), m, stride, w.data(), n, stride, k, actual.data(), n);
          EXPECT_TRUE(same_bytes(expected, actual)) << m << " x " << n << " x " << k;
        }
      }
}

template <Format F>
void expect_coded_products() {
  std::mt19937 random(F::bits);
  const std::vector<float> x = values(1024, 8, false);
  for (const std::size_t n : {1u, 16u, 31u, 100u, 1024u})
    for (const std::size_t group : {std::size_t{16}, std::size_t{32}, std::size_t{48}, std::size_t{2048}})
      for (const std::size_t rows : {1u, 4u, 23u}) {
        const std::size_t bytes = packed_bytes(n, F::bits) + 1, count = ceil_div(n, group) + 1;
        std::vector<std::uint8_t> codes(rows * bytes), zero_points(rows * count);
        for (auto& byte : codes) byte = static_cast<std::uint8_t>(random());
        for (auto& z : zero_points) z = static_cast<std::uint8_t>(random() % (1u << F::bits));
        std::vector<float> scales(rows * count);
        for (auto& s : scales) s = std::ldexp(random() % 4 == 0 ? -1.1f : 1.1f, static_cast<int>(random() % 9));
        const std::size_t offset = group == 32 || group == 48 ? 16 : 0;
        std::vector<float> expected(rows, 0.25f), actual(rows, 0.25f);
        ReferenceKernels::accumulate_coded_products<F>(x.data(), codes.data(), bytes, rows, n, group, offset,
                                                       scales.data(), count, zero_points.data(), count,
                                                       expected.data());
        HighwayKernels::accumulate_coded_products<F>(x.data(), codes.data(), bytes, rows, n, group, offset,
                                                     scales.data(), count, zero_points.data(), count, actual.data());
        EXPECT_TRUE(same_values(expected, actual)) << F::name() << ", n " << n << ", group " << group << ", " << rows;
      }
}

TEST_P(OnTarget, MultipliesCodesAsTheReference) {
  for_each_format(CodeFormats{}, []<class F>(std::type_identity<F>) { expect_coded_products<F>(); });
}

template <class Real>
void expect_hadamard() {
  for (const std::size_t order : {1u, 4u, 12u, 28u})
    for (const std::size_t length : {1u, 2u, 4u, 8u, 16u, 32u, 64u, 128u, 512u, 1024u}) {
      const std::vector<float> given = values(order * length, 7, false);
      const std::vector<Real> x(given.begin(), given.end());
      std::vector<Real> expected = x, actual = x;
      ReferenceKernels::butterflies(expected.data(), length);
      HighwayKernels::butterflies(actual.data(), length);
      EXPECT_TRUE(same_bytes(expected, actual)) << length;
      if (order == 1) continue;

      std::vector<float> signs(order * order);
      for (std::size_t i = 0; i < signs.size(); ++i) signs[i] = i * 7 % 11 < 5 ? 1.0f : -1.0f;
      for (const bool transposed : {false, true}) {
        const std::size_t a_step = transposed ? 1 : order, b_step = transposed ? order : 1;
        ReferenceKernels::multiply_signs(x.data(), signs.data(), a_step, b_step, order, length, expected.data());
        HighwayKernels::multiply_signs(x.data(), signs.data(), a_step, b_step, order, length, actual.data());
        EXPECT_TRUE(same_bytes(expected, actual)) << order << " x " << length;
      }
    }
}

TEST_P(OnTarget, TransformsAsTheReference) {
  expect_hadamard<float>();
  expect_hadamard<double>();
}

/// Groups of many kinds: all alike, zeros, subnormals, and so large that their squares are infinite.
TEST_P(OnTarget, FitsLinesAsTheReference) {
  struct Case {
    std::size_t n, count;
    bool weighted, has_minimum;
    float unit;
  };
  std::vector<Case> cases;
  for (const std::size_t n : {7u, 16u, 32u, 64u})
    for (const std::size_t count : {1u, 16u, 37u})
      for (const bool weighted : {false, true})
        for (const bool has_minimum : {false, true})
          for (const float unit : {1.0f, 0x1p120f, 0x1p-130f}) cases.push_back({n, count, weighted, has_minimum, unit});
  for (const Case& c : cases) {
    std::vector<float> x = values(c.n * c.count, 8, false), weights = values(c.n * c.count, 9, false);
    for (float& v : x) v *= c.unit;
    for (float& w : weights) w = std::fabs(w) * c.unit;
    std::fill_n(x.begin(), c.n, -2.5f);
    if (c.count > 1) std::fill_n(x.begin() + static_cast<std::ptrdiff_t>(c.n), c.n, -0.0f);
    const LineTrials trials{.lowest = c.has_minimum ? 0.0f : -8.0f,
                            .highest = c.has_minimum ? 15.0f : 7.0f,
                            .first = 0.9f,
                            .step = 0.06f,
                            .steps = 5,
                            .places = 3,
                            .has_minimum = c.has_minimum};
    std::vector<float> scales[2], minimums[2];
    std::vector<std::uint8_t> codes[2];
    for (const int k : {0, 1}) {
      scales[k].assign(c.count, 99.0f);
      minimums[k].assign(c.has_minimum ? c.count : 0, 99.0f);
      codes[k].assign(c.n * c.count, 99);
      const auto fit = k == 0 ? ReferenceKernels::fit_lines : HighwayKernels::fit_lines;
      const auto encode = k == 0 ? ReferenceKernels::encode_lines : HighwayKernels::encode_lines;
      fit(x.data(), c.weighted ? weights.data() : nullptr, c.count, c.n, trials, scales[k].data(), minimums[k].data());
      encode(x.data(), c.count, c.n, scales[k].data(), c.has_minimum ? minimums[k].data() : nullptr, trials.lowest,
             trials.highest, codes[k].data());
    }
    EXPECT_TRUE(same_bytes(scales[0], scales[1])) << c.n << ", " << c.count;
    EXPECT_TRUE(same_bytes(minimums[0], minimums[1])) << c.n << ", " << c.count;
    EXPECT_TRUE(same_bytes(codes[0], codes[1])) << c.n << ", " << c.count;
    for (const float scale : scales[0]) EXPECT_TRUE(std::isfinite(scale));
    for (const float minimum : minimums[0]) EXPECT_TRUE(minimum >= 0.0f && std::isfinite(minimum));
  }
}

/// Values that a line holds exactly leave next to no error, whatever their unit and weights.
TEST_P(OnTarget, FitsLinesToWhatLinesHold) {
  constexpr std::size_t n = 32, count = 20;
  const std::vector<float> random = values(n * count, 10, false);
  for (const float unit : {0.3f, 0x1p100f, 0x1p-100f})
    for (const bool has_minimum : {false, true}) {
      std::vector<float> x(n * count), weights(n * count), scales(count), minimums(count);
      std::vector<std::uint8_t> codes(n * count);
      const float lowest = has_minimum ? 0.0f : -8.0f, highest = lowest + 15.0f;
      for (std::size_t i = 0; i < x.size(); ++i) {
        // Both ends are there; the others lie anywhere between.
        const float level = i % n < 2 ? (i % n == 0 ? lowest : highest) : lowest + static_cast<float>(i * 7 % 16);
        x[i] = (level - (has_minimum ? 5.0f : 0.0f)) * unit;
        weights[i] = 0.1f + std::fabs(random[i]);
      }
      const LineTrials trials{.lowest = lowest, .highest = highest, .has_minimum = has_minimum};
      HighwayKernels::fit_lines(x.data(), weights.data(), count, n, trials, scales.data(), minimums.data());
      HighwayKernels::encode_lines(x.data(), count, n, scales.data(), minimums.data(), lowest, highest, codes.data());
      for (std::size_t i = 0; i < x.size(); ++i)
        EXPECT_NEAR((static_cast<float>(codes[i]) + lowest) * scales[i / n] - minimums[i / n], x[i], unit * 1e-4f);
    }
}

template <class T>
void expect_conversions() {
  for (std::uint32_t code = 0; code < 0x10000u; ++code) {
    T element;
    element.bits = static_cast<std::uint16_t>(code);
    const std::vector<T> elements(32, element);
    Range expected, actual;
    ReferenceKernels::find_range(elements.data(), 32, 32, &expected);
    HighwayKernels::find_range(elements.data(), 32, 32, &actual);
    EXPECT_EQ(expected.lowest, actual.lowest) << code;
    EXPECT_EQ(expected.highest, actual.highest) << code;
    EXPECT_EQ(expected.finite, actual.finite) << code;
  }
}

TEST_P(OnTarget, ConvertsEveryHalfAndBFloat16) {
  expect_conversions<Half>();
  expect_conversions<BFloat16>();
}

TEST_P(OnTarget, RoundsFloatsToHalvesAtEveryEdge) {
  // An 8-bit code of 1 is the scale itself, so that decoding converts any float.
  const std::uint8_t ones[32] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
                                 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
  const auto check = [&](float scale) {
    Half half[2][32];
    BFloat16 brain[2][32];
    ReferenceKernels::decode<Int<8>>(ones, 32, 32, 0, &scale, nullptr, half[0]);
    HighwayKernels::decode<Int<8>>(ones, 32, 32, 0, &scale, nullptr, half[1]);
    ReferenceKernels::decode<Int<8>>(ones, 32, 32, 0, &scale, nullptr, brain[0]);
    HighwayKernels::decode<Int<8>>(ones, 32, 32, 0, &scale, nullptr, brain[1]);
    EXPECT_EQ(std::memcmp(half[0], half[1], sizeof half[0]), 0) << scale;
    EXPECT_EQ(std::memcmp(brain[0], brain[1], sizeof brain[0]), 0) << scale;
  };
  for (std::uint32_t code = 0; code < 0x7c00u; ++code) {
    const float low = F16::decode(code), high = code + 1 < 0x7c00u ? F16::decode(code + 1) : 65536.0f;
    const float middle = 0.5f * (low + high);
    for (const float x : {low, middle, std::nextafter(middle, 0.0f), std::nextafter(middle, 1e9f)}) check(x);
  }
  for (const float x :
       {1e-45f, 3e38f, std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
    check(x);
    check(-x);
  }
}

}  // namespace
