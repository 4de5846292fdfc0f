// XsimdKernels against ReferenceKernels, bit for bit, for the instruction set that this file is compiled for.
#include "pare/kernels/xsimd.hpp"

#include <gtest/gtest.h>

#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "pare/tensor/tensor.hpp"

namespace {

using pare::BFloat16;
using pare::BlockParameters;
using pare::Half;
using pare::Range;
using Kernels = pare::XsimdKernels;
using Reference = pare::ReferenceKernels;

constexpr float nan = std::numeric_limits<float>::quiet_NaN();
constexpr float infinity = std::numeric_limits<float>::infinity();
constexpr float largest = std::numeric_limits<float>::max();
constexpr float subnormal = std::numeric_limits<float>::denorm_min();
constexpr std::array specials = {0.0f,     -0.0f,     subnormal, -subnormal, 1e-40f, -1e-40f, 1.1754944e-38f,
                                 largest,  -largest,  65504.0f,  -65520.0f,  0.5f,   -1.5f,   2.5f,
                                 infinity, -infinity, nan,       -nan,       464.0f, -448.0f, 57344.0f};
constexpr std::array<std::size_t, 18> lengths = {0, 1, 2, 5, 7, 8, 15, 16, 17, 31, 32, 33, 63, 64, 65, 100, 129, 300};
constexpr std::array<std::size_t, 14> groups = {1, 2, 3, 7, 8, 16, 24, 31, 32, 33, 64, 100, 128, std::size_t{1} << 60};

enum class Data { plain, halves, subnormals, with_specials };

template <class T>
std::vector<T> make_values(std::mt19937& random, std::size_t n, Data kind) {
  std::vector<T> values(n);
  std::normal_distribution<float> normal(0.0f, 3.0f);
  for (T& v : values) {
    float x = normal(random);
    if (kind == Data::halves) x = std::nearbyint(4.0f * x) / 2.0f;
    if (kind == Data::subnormals) x *= 1e-39f;
    if (kind == Data::with_specials && random() % 23 == 0) x = specials[random() % specials.size()];
    v = static_cast<T>(x);
  }
  return values;
}

template <class T>
bool same_bytes(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0);
}

std::string place(std::size_t n, std::size_t group) {
  return "n=" + std::to_string(n) + " group=" + std::to_string(group);
}

/// Parameters of every group of x: what quantizers make of their ranges, or hostile ones.
template <class F, class T>
std::vector<BlockParameters> make_parameters(std::mt19937& random, const std::vector<T>& x, std::size_t group,
                                             bool hostile) {
  std::vector<Range> ranges(pare::ceil_div(x.size(), group));
  Reference::find_range(x.data(), x.size(), group, ranges.data());
  std::vector<BlockParameters> parameters;
  for (const Range& range : ranges) {
    BlockParameters p;
    if constexpr (pare::UnsignedFormat<F>)
      p = pare::Asymmetric::parameters<pare::F32>(range, F::max);
    else
      p = pare::Symmetric::parameters<pare::F32>(range, F::max);
    if (hostile) {
      constexpr std::array inverses = {0.0f,   -0.0f, 1.0f,     2.0f,     -0.5f, subnormal,
                                       1e-39f, 1e38f, -largest, infinity, nan};
      p.inverse = inverses[random() % inverses.size()];
      p.scale = random() % 4 == 0 ? nan : specials[random() % specials.size()];
      p.zero_point = static_cast<std::uint8_t>(random());
    }
    parameters.push_back(p);
  }
  return parameters;
}

template <class F>
class XsimdFormat : public testing::Test {
 protected:
  std::mt19937 random{20240229};

  template <class T>
  void check_encode(Data kind, bool hostile) {
    for (const std::size_t n : lengths)
      for (const std::size_t group : groups) {
        const std::vector<T> x = make_values<T>(random, n, kind);
        const std::vector<BlockParameters> parameters = make_parameters<F>(random, x, group, hostile);
        std::vector<std::uint8_t> codes(pare::packed_bytes(n, F::bits), 0xa5), expected(codes.size(), 0x5a);
        Kernels::encode<F>(x.data(), n, group, parameters.data(), codes.data());
        Reference::encode<F>(x.data(), n, group, parameters.data(), expected.data());
        ASSERT_EQ(codes, expected) << place(n, group);
      }
  }

  template <class T>
  void check_decode(bool hostile) {
    for (const std::size_t n : lengths)
      for (const std::size_t group : groups)
        for (const std::size_t offset : {std::size_t{0}, std::size_t{1}, group / 2, group - 1}) {
          if (offset >= group) continue;
          std::vector<std::uint8_t> codes(pare::packed_bytes(n, F::bits));
          for (std::uint8_t& c : codes) c = static_cast<std::uint8_t>(random());
          const std::size_t first = std::min(n, group - offset);
          const std::size_t count = (n == 0 ? 0 : 1) + pare::ceil_div(n - first, group);
          std::vector<float> scales = make_values<float>(random, count, Data::plain);
          if (hostile)
            for (float& s : scales) s = specials[random() % specials.size()];
          std::vector<std::uint8_t> zero_points(pare::UnsignedFormat<F> ? count : 0);
          for (std::uint8_t& z : zero_points) z = static_cast<std::uint8_t>(random());
          std::vector<T> values(n), expected(n);
          Kernels::decode<F>(codes.data(), n, group, offset, scales.data(), zero_points.data(), values.data());
          Reference::decode<F>(codes.data(), n, group, offset, scales.data(), zero_points.data(), expected.data());
          for (std::size_t i = 0; i < n; ++i) {
            // Which of two NaNs a product takes its sign and payload from is up to the compiler.
            const float value = F::decode(pare::read_code<F::bits>(codes.data(), i));
            if (!pare::is_nan(value) || !pare::is_nan(scales[i < first ? 0 : 1 + (i - first) / group])) continue;
            ASSERT_TRUE(pare::is_nan(static_cast<float>(values[i])));
            ASSERT_TRUE(pare::is_nan(static_cast<float>(expected[i])));
            values[i] = expected[i];
          }
          ASSERT_TRUE(same_bytes(values, expected)) << place(n, group) << " offset=" << offset;
        }
  }
};

using Formats = testing::Types<pare::Int<2>, pare::Int<3>, pare::Int<4>, pare::Int<5>, pare::Int<6>, pare::Int<7>,
                               pare::Int<8>, pare::UInt<2>, pare::UInt<3>, pare::UInt<4>, pare::UInt<5>, pare::UInt<6>,
                               pare::UInt<7>, pare::UInt<8>, pare::NF4, pare::E2M1, pare::E4M3, pare::E5M2>;
struct FormatNames {
  template <class F>
  static std::string GetName(int) {
    return std::string(F::name());
  }
};
TYPED_TEST_SUITE(XsimdFormat, Formats, FormatNames);

TYPED_TEST(XsimdFormat, EncodesAsTheReference) {
  for (const Data kind : {Data::plain, Data::halves, Data::subnormals, Data::with_specials})
    for (const bool hostile : {false, true}) {
      this->template check_encode<float>(kind, hostile);
      this->template check_encode<Half>(kind, hostile);
      this->template check_encode<BFloat16>(kind, hostile);
    }
}

TYPED_TEST(XsimdFormat, DecodesAsTheReference) {
  for (const bool hostile : {false, true}) {
    this->template check_decode<float>(hostile);
    this->template check_decode<Half>(hostile);
    this->template check_decode<BFloat16>(hostile);
  }
}

// Every float that lies on, just below or just above a point where the code changes.
TYPED_TEST(XsimdFormat, RoundsAtEveryBoundary) {
  using F = TypeParam;
  std::vector<float> x;
  for (std::uint32_t a = 0; a < (1u << F::bits); ++a)
    for (std::uint32_t b = a; b < (1u << F::bits); ++b) {
      const float middle = 0.5f * F::decode(a) + 0.5f * F::decode(b);
      if (!pare::is_finite(middle)) continue;
      for (const float v : {std::nextafter(middle, -infinity), middle, std::nextafter(middle, infinity)})
        x.push_back(v);
    }
  const BlockParameters p{.scale = 1.0f, .inverse = 1.0f};
  std::vector<std::uint8_t> codes(pare::packed_bytes(x.size(), F::bits)), expected(codes.size());
  Kernels::encode<F>(x.data(), x.size(), x.size(), &p, codes.data());
  Reference::encode<F>(x.data(), x.size(), x.size(), &p, expected.data());
  EXPECT_EQ(codes, expected);
}

template <class T>
class XsimdElement : public testing::Test {
 protected:
  std::mt19937 random{7};
};
using Elements = testing::Types<float, Half, BFloat16>;
TYPED_TEST_SUITE(XsimdElement, Elements);

TYPED_TEST(XsimdElement, FindsTheRangesOfTheReference) {
  for (const Data kind : {Data::plain, Data::subnormals, Data::with_specials})
    for (const std::size_t n : lengths)
      for (const std::size_t group : groups) {
        const std::vector<TypeParam> x = make_values<TypeParam>(this->random, n, kind);
        std::vector<Range> ranges(pare::ceil_div(n, group)), expected(ranges.size());
        Kernels::find_range(x.data(), n, group, ranges.data());
        Reference::find_range(x.data(), n, group, expected.data());
        for (std::size_t g = 0; g < ranges.size(); ++g) {
          ASSERT_EQ(std::bit_cast<std::uint32_t>(ranges[g].lowest), std::bit_cast<std::uint32_t>(expected[g].lowest));
          ASSERT_EQ(std::bit_cast<std::uint32_t>(ranges[g].highest), std::bit_cast<std::uint32_t>(expected[g].highest));
          ASSERT_EQ(ranges[g].finite, expected[g].finite) << place(n, group);
        }
      }
}

TYPED_TEST(XsimdElement, FindsTheParametersOfTheReference) {
  using pare::Asymmetric, pare::F16;
  for (const Data kind : {Data::plain, Data::with_specials})
    for (const std::size_t group : groups) {
      const std::vector<TypeParam> x = make_values<TypeParam>(this->random, 500, kind);
      const std::size_t count = pare::ceil_div(x.size(), group);
      std::vector<BlockParameters> parameters(count), expected(count);
      std::vector<std::uint8_t> scales(2 * count), zeros(count), expected_scales(2 * count), expected_zeros(count);
      Kernels::find_parameters<Asymmetric, F16>(x.data(), x.size(), group, 15.0f, parameters.data(), scales.data(),
                                                zeros.data());
      Reference::find_parameters<Asymmetric, F16>(x.data(), x.size(), group, 15.0f, expected.data(),
                                                  expected_scales.data(), expected_zeros.data());
      ASSERT_EQ(scales, expected_scales) << place(x.size(), group);
      ASSERT_EQ(zeros, expected_zeros) << place(x.size(), group);
      for (std::size_t g = 0; g < count; ++g) ASSERT_EQ(parameters[g].inverse, expected[g].inverse);
    }
}

TYPED_TEST(XsimdElement, NegativeZerosCountAsZero) {
  const std::vector<TypeParam> x(40, static_cast<TypeParam>(-0.0f));
  Range range;
  Kernels::find_range(x.data(), x.size(), x.size(), &range);
  EXPECT_FALSE(std::signbit(range.lowest));
  EXPECT_FALSE(std::signbit(range.highest));
}

// Every exponent that a stored value can have, on and beside the points where 16-bit elements round.
TYPED_TEST(XsimdElement, StoresEveryMagnitudeAsTheReference) {
  std::vector<std::uint8_t> codes(256);
  for (std::size_t c = 0; c < codes.size(); ++c) codes[c] = static_cast<std::uint8_t>(c);
  std::vector<TypeParam> values(codes.size()), expected(codes.size());
  for (int exponent = -149; exponent < 128; ++exponent)
    for (const float factor : {1.0f, 1.0009765f, 1.0019531f, 1.3333334f, 1.9990234f, 1.9999999f}) {
      const float scale = std::ldexp(factor, exponent);
      Kernels::decode<pare::Int<8>>(codes.data(), codes.size(), codes.size(), 0, &scale, nullptr, values.data());
      Reference::decode<pare::Int<8>>(codes.data(), codes.size(), codes.size(), 0, &scale, nullptr, expected.data());
      ASSERT_TRUE(same_bytes(values, expected)) << scale;
    }
}

template <class T>
void check_every_half() {
  std::vector<T> x(0x10000);
  for (std::size_t bits = 0; bits < x.size(); ++bits) x[bits].bits = static_cast<std::uint16_t>(bits);
  std::vector<Range> ranges(x.size()), expected(x.size());
  Kernels::find_range(x.data(), x.size(), 1, ranges.data());
  Reference::find_range(x.data(), x.size(), 1, expected.data());
  for (std::size_t i = 0; i < x.size(); ++i) {
    ASSERT_EQ(ranges[i].lowest, expected[i].lowest) << i;
    ASSERT_EQ(ranges[i].highest, expected[i].highest) << i;
    ASSERT_EQ(ranges[i].finite, expected[i].finite) << i;
  }
}

TEST(XsimdKernels, LoadsEveryHalfAsTheReference) {
  check_every_half<Half>();
  check_every_half<BFloat16>();
}

template <int Bits>
void check_packing(std::mt19937& random) {
  for (const std::size_t n : lengths) {
    std::vector<std::uint8_t> codes(n);
    for (std::uint8_t& c : codes) c = static_cast<std::uint8_t>(random());
    std::vector<std::uint8_t> packed(pare::packed_bytes(n, Bits), 0xa5), expected(packed.size(), 0x5a);
    Kernels::pack<Bits>(codes.data(), n, packed.data());
    Reference::pack<Bits>(codes.data(), n, expected.data());
    ASSERT_EQ(packed, expected) << Bits << " bits, n=" << n;
    std::vector<std::uint8_t> unpacked(n, 0xff);
    Kernels::unpack<Bits>(packed.data(), n, unpacked.data());
    for (std::uint8_t& c : codes) c = static_cast<std::uint8_t>(c & ((1u << Bits) - 1u));
    ASSERT_EQ(unpacked, codes) << Bits << " bits, n=" << n;
  }
}

TEST(XsimdKernels, PacksAndUnpacksAsTheReference) {
  std::mt19937 random(11);
  check_packing<2>(random);
  check_packing<3>(random);
  check_packing<4>(random);
  check_packing<5>(random);
  check_packing<6>(random);
  check_packing<7>(random);
  check_packing<8>(random);
}

TEST(XsimdKernels, AccumulatesProductsAsTheReference) {
  std::mt19937 random(5);
  for (const Data kind : {Data::plain, Data::subnormals})
    for (const std::size_t m : {0u, 1u, 2u, 5u, 6u, 7u, 13u})
      for (const std::size_t n : {0u, 1u, 3u, 4u, 5u, 9u})
        for (const std::size_t k : {0u, 1u, 15u, 16u, 17u, 40u, 129u}) {
          const std::size_t x_stride = k + 3, w_stride = k + 1, y_stride = n + 2;
          const std::vector<float> x = make_values<float>(random, m * x_stride, kind);
          const std::vector<float> w = make_values<float>(random, n * w_stride, kind);
          std::vector<float> y = make_values<float>(random, m * y_stride, Data::plain), expected = y;
          Kernels::accumulate_products(x.data(), m, x_stride, w.data(), n, w_stride, k, y.data(), y_stride);
          Reference::accumulate_products(x.data(), m, x_stride, w.data(), n, w_stride, k, expected.data(), y_stride);
          ASSERT_TRUE(same_bytes(y, expected)) << m << " x " << n << " x " << k;
        }
}

constexpr pare::Shape weight_shape{37, 200};
constexpr std::size_t x_rows = 9;

/// The values after a round trip through a scheme, and products with them.
template <class Scheme, class K>
std::vector<float> run_tensor() {
  std::mt19937 random(3);
  const std::vector<float> weights = make_values<float>(random, weight_shape.rows * weight_shape.cols, Data::plain);
  const std::vector<float> x = make_values<float>(random, x_rows * weight_shape.cols, Data::plain);
  std::vector<float> out(weights.size() + x_rows * weight_shape.rows);
  const auto packed = pare::quantize<Scheme, K>(std::span(weights), weight_shape);
  if (!packed || !pare::dequantize<Scheme, K>(packed->view(), std::span(out).first(weights.size())) ||
      !pare::matmul<Scheme, K>(packed->view(), pare::MatrixView<const float>(x.data(), x_rows, weight_shape.cols),
                               pare::MatrixView<float>(out.data() + weights.size(), x_rows, weight_shape.rows)))
    return {};
  return out;
}

template <class Scheme>
void check_tensor() {
  const std::vector<float> expected = run_tensor<Scheme, Reference>();
  EXPECT_FALSE(expected.empty());
  EXPECT_TRUE(same_bytes(run_tensor<Scheme, Kernels>(), expected)) << pare::name<Scheme>();
}

TEST(XsimdKernels, ServesAsTheBackendOfTensors) {
  check_tensor<pare::catalog::Int4Group32>();
  check_tensor<pare::catalog::Int8AsymChannel>();
  check_tensor<pare::catalog::MXFP8>();
}

}  // namespace
