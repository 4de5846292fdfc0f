#include "pare/kernels/kernels.hpp"

#include <gtest/gtest.h>
#include <hwy/targets.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

namespace {

using namespace pare;

#if HWY_ARCH_X86
constexpr std::int64_t vnni = HWY_AVX3 | HWY_AVX3_DL, every_extension = vnni | HWY_AVX2;
#endif

/// Every target that is compiled and that this processor has, and AVX3 with VNNI, and with AMX too where it is there.
std::vector<std::int64_t> targets() {
  std::vector<std::int64_t> all = hwy::SupportedAndGeneratedTargets();
#if HWY_ARCH_X86
  const bool has_avx3 = std::find(all.begin(), all.end(), HWY_AVX3) != all.end();
  if (has_avx3 && (hwy::SupportedTargets() & HWY_AVX3_DL) != 0) {
    all.push_back(vnni);
    all.push_back(every_extension);
  }
#endif
  return all;
}

std::string target_name(const testing::TestParamInfo<std::int64_t>& target) {
#if HWY_ARCH_X86
  if (target.param == vnni) return "VNNI";
  if (target.param == every_extension) return "EveryExtension";
#endif
  return hwy::TargetName(target.param);
}

class PreparedOnTarget : public testing::TestWithParam<std::int64_t> {
 protected:
  void SetUp() override { hwy::SetSupportedTargetsForTest(GetParam()); }
  void TearDown() override { hwy::SetSupportedTargetsForTest(0); }
};

INSTANTIATE_TEST_SUITE_P(Targets, PreparedOnTarget, testing::ValuesIn(targets()), target_name);

/// What has a scale, and what an offset: groups and groups, rows and groups, or rows and rows.
enum class Scales { of_groups, of_rows, of_exact_rows };

/// Activations in memory of their own.
struct Activations {
  std::vector<std::int8_t> codes;
  std::vector<float> scales;
  std::vector<std::int32_t> offsets;
  QuantizedActivations view;

  Activations(std::size_t rows, std::size_t groups, std::size_t group, bool has_halves, Scales of)
      : codes(rows * groups * group, std::int8_t{99}),
        scales(rows * groups, 99.0f),
        offsets(rows * groups * (has_halves ? 2 : 1), 99),
        view{codes.data(),
             scales.data(),
             offsets.data(),
             rows,
             of == Scales::of_groups ? rows : 0,
             of == Scales::of_exact_rows ? 0 : rows,
             has_halves} {}
};

template <class T>
bool same_bytes(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0);
}

/// The bits of numbers are equal, and NaN stands where NaN stands.
bool same_values(const std::vector<float>& a, const std::vector<float>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](float x, float y) {
    return (std::isnan(x) && std::isnan(y)) || std::bit_cast<std::uint32_t>(x) == std::bit_cast<std::uint32_t>(y);
  });
}

TEST_P(PreparedOnTarget, ActivationsAreThoseOfTheReference) {
  constexpr float infinity = std::numeric_limits<float>::infinity();
  constexpr float specials[] = {std::numeric_limits<float>::quiet_NaN(), infinity, -infinity, 3e38f, 1e-45f, -0.0f};
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  for (const bool with_specials : {false, true})
    for (const std::size_t group : {32u, 64u, 128u})
      for (const std::size_t cols : {1u, 31u, 32u, 300u, 2048u, 4100u}) {
        // Fewer rows than lanes for columns that fill groups and those that leave a tail, and more rows than lanes.
        const std::size_t rows = cols == 32 || cols == 300 ? 21 : 3;
        const std::size_t stride = cols + 5, groups = ceil_div(cols, group);
        std::vector<float> x(rows * stride);
        for (float& v : x) {
          v = normal(random);
          // Ties between integers, once the largest magnitude is 127.
          if (random() % 8 == 0) v = static_cast<float>(static_cast<int>(random() % 255) - 127) * 0.5f;
          if (with_specials && random() % 256 == 0) v = specials[random() % std::size(specials)];
        }
        // One group of zeros, and one whose scale is too small.
        if (with_specials && groups > 2) {
          std::fill_n(x.begin(), group, -0.0f);
          std::fill_n(x.begin() + static_cast<std::ptrdiff_t>(group), group, 1e-37f);
        }
        for (const bool has_halves : {false, true})
          for (const Scales of : {Scales::of_groups, Scales::of_rows, Scales::of_exact_rows}) {
            if (has_halves && of == Scales::of_exact_rows) continue;
            Activations expected(rows + 1, groups, group, has_halves, of);
            Activations actual(rows + 1, groups, group, has_halves, of);
            ReferenceKernels::quantize_activations(x.data(), rows, stride, cols, group, 8, expected.view);
            HighwayKernels::quantize_activations(x.data(), rows, stride, cols, group, 8, actual.view);
            EXPECT_TRUE(same_bytes(expected.codes, actual.codes)) << group << ", " << cols;
            EXPECT_TRUE(same_bytes(expected.offsets, actual.offsets)) << group << ", " << cols;
            EXPECT_TRUE(same_values(expected.scales, actual.scales)) << group << ", " << cols;
          }
      }
}

/// What fills weights and activations: anything, or the integers farthest from zero, of either sign, that overflow
/// first.
enum class Fill { random, positive, negative };

/// The case of one product and its memory.
struct Product {
  enum class Shift { none, zero_points, minimums };
  std::size_t units, groups, outputs, rows;
  PreparedScale scale;
  Shift shift;
  bool shares_row;
  Scales of = Scales::of_groups;
  Fill fill = Fill::random;
  std::uint8_t mask = 0xff;  ///< the bits that bytes of codes have
};

template <class Codes>
void expect_products(const Product& p, std::mt19937& random) {
  constexpr std::size_t sections = prepared_sections<Codes>;
  const std::size_t group = p.units * prepared_unit, blocks = ceil_div(p.outputs, prepared_rows);
  const std::size_t scales_of_row = p.shares_row ? 1 : p.groups * sections;
  PreparedWeights w;
  w.groups = p.groups;
  w.units = p.units;
  w.scale = p.scale;
  w.code_stride = p.groups * p.units * prepared_unit_bytes<Codes>;
  const std::size_t scale_bytes = prepared_rows * prepared_scale_bytes(p.scale);
  w.scale_step = p.shares_row ? 0 : scale_bytes;
  const bool in_integers = p.scale == PreparedScale::integer8;
  const std::size_t stored = in_integers ? ceil_div(scales_of_row, prepared_run) * prepared_run : scales_of_row;
  w.scale_stride = stored * scale_bytes;
  w.zero_point_step = p.shares_row ? 0 : prepared_rows;
  w.zero_point_stride = scales_of_row * prepared_rows;

  Result<Buffer> codes = Buffer::allocate(blocks * w.code_stride);
  ASSERT_TRUE(codes);
  std::vector<std::uint8_t> scales(blocks * w.scale_stride), zero_points(blocks * w.zero_point_stride);
  auto* bytes = reinterpret_cast<std::uint8_t*>(codes->data());
  constexpr std::uint8_t farthest = Codes::bits == 8 ? 0xff : std::is_base_of_v<PreparedE2M1, Codes> ? 0x77 : 0xff;
  for (std::size_t i = 0; i < codes->size(); ++i)
    bytes[i] = static_cast<std::uint8_t>((p.fill == Fill::random ? random() : farthest) & p.mask);
  if constexpr (is_sparse24<Codes>)
    // The two kept ones of four columns, in neighbouring bytes, differ.
    for (std::size_t i = 0; i < codes->size(); i += 2)
      if (i % prepared_unit_bytes<Codes> < sparse24_places_bytes)
        for (unsigned shift = 0; shift < 8; shift += 2)
          if (((bytes[i] ^ bytes[i + 1]) >> shift & 3) == 0)
            bytes[i + 1] = static_cast<std::uint8_t>(bytes[i + 1] ^ 1u << shift);
  w.zero = Codes::bits == 8 ? 128 : 8;
  for (std::size_t i = 0; i < scales.size(); i += prepared_scale_bytes(p.scale)) {
    // Between 1 and 2, of either sign.
    const std::uint32_t mantissa = random() % 128, sign = random() % 2;
    const std::uint32_t wide = sign << 31 | 0x3f800000u | mantissa << 16;
    const std::uint32_t code = p.scale == PreparedScale::float16    ? sign << 15 | 0x3c00u | mantissa << 3
                               : p.scale == PreparedScale::bfloat16 ? wide >> 16
                                                                    : wide;
    const std::uint32_t stored_code = in_integers ? static_cast<std::uint32_t>(random() % 256) : code;
    std::memcpy(scales.data() + i, &stored_code, prepared_scale_bytes(p.scale));
  }
  for (std::uint8_t& zero_point : zero_points) {
    zero_point = static_cast<std::uint8_t>(random());
    if constexpr (is_sparse24<Codes>)  // of which a zero point is an integer
      zero_point = static_cast<std::uint8_t>(zero_point % (Codes::codes_type::highest + 1));
  }
  w.codes = bytes;
  w.scales = scales.data();
  const bool has_zero_points = p.shift == Product::Shift::zero_points;
  const bool has_minimums = p.shift == Product::Shift::minimums;
  w.zero_points = has_zero_points ? zero_points.data() : nullptr;
  // Minimums are integers where scales are, the same ones, else floats.
  std::vector<float> floats(blocks * stored * prepared_rows);
  for (float& value : floats) value = static_cast<float>(random() % 1000) / 37.0f - 9.0f;
  w.minimum = in_integers ? PreparedScale::integer8 : PreparedScale::float32;
  w.minimum_step = in_integers ? w.scale_step : w.zero_point_step * sizeof(float);
  w.minimum_stride = in_integers ? w.scale_stride : w.zero_point_stride * sizeof(float);
  w.scale_units = w.minimum_units = {floats.data(), scales.data()};
  if (has_minimums) w.minimums = in_integers ? scales.data() : reinterpret_cast<const std::uint8_t*>(floats.data());

  Activations x(p.rows, p.groups, group, is_group16<Codes>, p.of);
  for (std::int8_t& code : x.codes)
    code = static_cast<std::int8_t>(p.fill == Fill::random     ? static_cast<int>(random() % 255) - 127
                                    : p.fill == Fill::positive ? 127
                                                               : -127);
  for (float& scale : x.scales) scale = std::ldexp(1.0f + static_cast<float>(random() % 1000) / 1000.0f, -7);
  for (std::size_t s = 0; s < p.groups * sections; ++s)
    for (std::size_t r = 0; r < p.rows; ++r) {
      const std::size_t columns = group / sections;
      std::int32_t sum = 0;
      for (std::size_t c = s % sections * columns; c < (s % sections + 1) * columns; ++c)
        sum += x.codes[(s / sections * p.rows + r) * group + c];
      std::int32_t& offset = x.offsets[s * x.view.offset_step + r];
      if (s == 0 || x.view.offset_step != 0) offset = 0;
      offset -= sum * (has_zero_points || has_minimums ? 1 : w.zero);
    }

  const std::size_t stride = p.outputs + 3;
  std::vector<float> expected(p.rows * stride, 9.0f), actual(p.rows * stride, 9.0f);
  ReferenceKernels::multiply_prepared<Codes>(w, p.outputs, x.view, expected.data(), stride);
  HighwayKernels::multiply_prepared<Codes>(w, p.outputs, x.view, actual.data(), stride);
  EXPECT_TRUE(same_bytes(expected, actual))
      << Codes::bits << " bits, " << p.rows << " x " << p.outputs << ", " << p.groups << " groups of " << p.units;
}

template <class Codes>
void expect_all_products() {
  using Shift = Product::Shift;
  std::mt19937 random(2);
  const std::vector<Shift> shifts = is_sparse24<Codes>  ? std::vector{Shift::none, Shift::zero_points}
                                    : is_group16<Codes> ? std::vector{Shift::none, Shift::minimums}
                                                        : std::vector{Shift::none, Shift::zero_points, Shift::minimums};
  const std::vector<std::size_t> all_units =
      is_group16<Codes> ? std::vector<std::size_t>{1} : std::vector<std::size_t>{1, 2, 4};
  const auto random_shift = [&] { return shifts[random() % shifts.size()]; };
  const auto random_scales = [&](bool shares_row, std::size_t units, std::size_t rows) {
    const bool may_be_exact = shares_row && !is_group16<Codes> && (rows == 1 || units * prepared_unit == exact_group);
    return static_cast<Scales>(random() % (may_be_exact ? 3 : 2));
  };
  for (const std::size_t units : all_units)
    for (const std::size_t rows : {1u, 2u, 5u, 13u})
      for (const std::size_t outputs : {1u, 16u, 35u, 80u}) {
        const auto scale = static_cast<PreparedScale>(random() % 4);
        // More columns than stay in the cache at once, and fewer.
        const std::size_t groups = random() % 4 == 0 ? 40 : 3;
        const bool shares_row = random() % 2 == 0;
        expect_products<Codes>(
            {units, groups, outputs, rows, scale, random_shift(), shares_row, random_scales(shares_row, units, rows)},
            random);
      }
  for (const std::size_t units : all_units)
    for (const std::size_t rows : {16u, 39u, 60u})
      for (const Shift shift : shifts)
        for (const bool shares_row : {false, true})
          expect_products<Codes>({units, 9, rows + 20, rows, PreparedScale::float32, shift, shares_row,
                                  shares_row && !is_group16<Codes> && units * prepared_unit == exact_group
                                      ? Scales::of_exact_rows
                                      : random_scales(false, units, rows)},
                                 random);
  for (const Fill fill : {Fill::positive, Fill::negative})
    for (const std::size_t rows : {1u, 8u, 17u})
      expect_products<Codes>(
          {all_units.back(), 2, 32, rows, PreparedScale::float32, Shift::none, false, Scales::of_groups, fill}, random);
  // Bytes that hold six bits may be multiplied in another way.
  for (const Fill fill : {Fill::random, Fill::positive, Fill::negative})
    for (const std::size_t rows : {3u, 17u})
      expect_products<Codes>({all_units.back(), 5, 19, rows, PreparedScale::float16, random_shift(), false,
                              Scales::of_groups, fill, std::uint8_t{0x3f}},
                             random);
}

TEST_P(PreparedOnTarget, NibblesGiveTheProductsOfTheReference) { expect_all_products<PreparedNibbles>(); }
TEST_P(PreparedOnTarget, BytesGiveTheProductsOfTheReference) { expect_all_products<PreparedBytes>(); }
TEST_P(PreparedOnTarget, E2M1GivesTheProductsOfTheReference) {
  expect_all_products<PreparedE2M1>();
  expect_all_products<Group16Codes<PreparedE2M1>>();
}
TEST_P(PreparedOnTarget, NibblesInGroupsOf16GiveTheProductsOfTheReference) {
  expect_all_products<Group16Codes<PreparedNibbles>>();
}
TEST_P(PreparedOnTarget, BytesInGroupsOf16GiveTheProductsOfTheReference) {
  expect_all_products<Group16Codes<PreparedBytes>>();
}
TEST_P(PreparedOnTarget, SparseNibblesGiveTheProductsOfTheReference) {
  expect_all_products<Sparse24Codes<PreparedNibbles>>();
}
TEST_P(PreparedOnTarget, SparseBytesGiveTheProductsOfTheReference) {
  expect_all_products<Sparse24Codes<PreparedBytes>>();
}
TEST_P(PreparedOnTarget, SparseE2M1GivesTheProductsOfTheReference) {
  expect_all_products<Sparse24Codes<PreparedE2M1>>();
}

TEST(PreparedKernels, IntegersOfE2M1AreTwiceItsValues) {
  for (std::uint32_t code = 0; code < 16; ++code) {
    EXPECT_EQ(static_cast<float>(PreparedE2M1::integer(code)), 2.0f * E2M1::decode(code) + 12.0f);
    EXPECT_LE(PreparedE2M1::integer(code), PreparedE2M1::highest);
  }
}

TEST(PreparedKernels, EveryCodeHasAPlaceOfItsOwn) {
  const auto expect_places = []<class Codes>(Codes) {
    std::vector<int> taken(prepared_unit_bytes<Codes> * 8 / Codes::bits);
    for (std::size_t row = 0; row < prepared_rows; ++row)
      for (std::size_t column = 0; column < prepared_unit; ++column) {
        const PreparedPlace place = prepared_place<Codes>(row, column);
        const std::size_t at = (place.byte * 8 + static_cast<std::size_t>(place.shift)) / Codes::bits;
        ASSERT_LT(at, taken.size());
        ++taken[at];
      }
    EXPECT_EQ(std::count(taken.begin(), taken.end(), 1), static_cast<std::ptrdiff_t>(taken.size()));
  };
  expect_places(PreparedNibbles());
  expect_places(PreparedBytes());
  expect_places(PreparedE2M1());
}

}  // namespace
