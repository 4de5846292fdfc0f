// Prints the tables of docs/formats.md, asking the format types themselves.
#include <fmt/core.h>

#include <array>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "format_probe.hpp"
#include "pare/layouts/gguf/decode.hpp"
#include "pare/layouts/gguf/rule_encoders.hpp"
#include "pare/schemes/microscaling.hpp"
#include "pare/schemes/nvfp4.hpp"

namespace {

using namespace pare;
using namespace pare::docs;

/// The scale byte of GGUF's NVFP4 blocks, which the library reads and writes by functions of that layout.
struct UE4M3 {
  static constexpr int bits = 8;
  static constexpr FormatKind kind = FormatKind::minifloat;
  static constexpr float max = gguf::decode_ue4m3(gguf::detail::encode_ue4m3(largest_float));
  static constexpr std::string_view name() noexcept { return "ue4m3"; }
  static constexpr float decode(std::uint32_t code) noexcept {
    return gguf::decode_ue4m3(static_cast<std::uint8_t>(code));
  }
  static constexpr std::uint32_t encode(float x) noexcept { return gguf::detail::encode_ue4m3(x); }
};

template <class F>
struct Named {
  using type = F;
  std::string_view label;
};

constexpr std::tuple minifloats{Named<E2M1>{"E2M1"},         Named<E2M3>{"E2M3"}, Named<E3M2>{"E3M2"},
                                Named<E4M3>{"E4M3"},         Named<E5M2>{"E5M2"}, Named<E4M3FNUZ>{"E4M3FNUZ"},
                                Named<E5M2FNUZ>{"E5M2FNUZ"}, Named<F16>{"F16"},   Named<BF16>{"BF16"}};
constexpr std::tuple scales{Named<E8M0>{"E8M0"}, Named<UE4M3>{"ue4m3 (gguf)"}};
constexpr std::tuple tables{Named<NF4>{"NF4"}, Named<BnbFP4>{"BnbFP4"}, Named<IQ4NL>{"IQ4NL"}, Named<CB4>{"CB4"},
                            Named<Ternary>{"Ternary"}};
constexpr std::tuple fixed_points{Named<MXInt8>{"MXInt8"}};

template <int... I, class Visit>
void for_each_width(std::integer_sequence<int, I...>, Visit visit) {
  (visit.template operator()<I + 1>(), ...);
}
constexpr std::make_integer_sequence<int, 8> widths;

template <class Visit, class... Lists>
void for_each(Visit visit, const Lists&... lists) {
  const auto each = [&](auto... named) {
    (visit.template operator()<typename decltype(named)::type>(named.label), ...);
  };
  (std::apply(each, lists), ...);
}

void head(const std::vector<std::string>& columns) {
  std::string rule = "|";
  fmt::print("|");
  for (const std::string& column : columns) {
    fmt::print(" {} |", column);
    rule += "---|";
  }
  fmt::print("\n{}\n", rule);
}

void row(const std::vector<std::string>& cells) {
  fmt::print("|");
  for (const std::string& cell : cells) fmt::print(" {} |", cell);
  fmt::print("\n");
}

std::string quoted(std::string_view name) { return fmt::format("`{}`", name); }

template <class F>
void summary_row(std::string_view label) {
  const Coder c = coder<F>(std::string(label));
  const std::vector<float> values = written_values(c);
  std::string fields = "-", bias = "-", normal = "-", subnormal = "-";
  if constexpr (requires { F::layout; }) {
    fields = fmt::format("1/{}/{}", F::layout.exponent, F::layout.mantissa);
    bias = fmt::format("{}", F::layout.bias);
    normal = number(F::min_normal);
    subnormal = number(F::min_subnormal);
  } else if constexpr (F::kind == FormatKind::exponent) {
    fields = fmt::format("0/{}/0", F::bits);
    bias = fmt::format("{}", F::encode(1.0f));
    normal = number(values.front());
  }
  const auto is_infinity = [](float x) { return !is_nan(x) && !is_finite(x); };
  row({quoted(F::name()), quoted(label), fmt::format("{}", F::bits), fields, bias, number(F::max),
       number(values.back()), number(values.front()), normal, subnormal,
       code_runs(c, [&](std::uint32_t code) { return is_infinity(F::decode(code)); }),
       code_runs(c, [](std::uint32_t code) { return is_nan(F::decode(code)); }),
       code_runs(c, [](std::uint32_t code) { return std::bit_cast<std::uint32_t>(F::decode(code)) == 0x80000000u; }),
       code_runs(c, [&](std::uint32_t code) { return is_finite(F::decode(code)) && !is_written(c, code); })});
}

void summary() {
  fmt::print("## Formats\n\n");
  head({"name", "type", "bits", "sign/exponent/mantissa", "bias", "`max`", "largest", "lowest", "smallest normal",
        "smallest subnormal", "infinities", "NaN", "-0", "finite, never written"});
  const auto visit = []<class F>(std::string_view label) { summary_row<F>(label); };
  for_each(visit, minifloats, scales, tables, fixed_points);
  for_each_width(widths, []<int B>() { summary_row<Int<B>>(fmt::format("Int<{}>", B)); });
  for_each_width(widths, []<int B>() { summary_row<UInt<B>>(fmt::format("UInt<{}>", B)); });
}

std::string outcomes(const Coder& c, float x, float y) {
  const std::string first = outcome(c, x), second = outcome(c, y);
  return first == second ? first : first + ", " + second;
}

std::vector<std::string> policy(const Coder& c) {
  return {halves(c),
          outcomes(c, largest_float, -largest_float),
          outcomes(c, infinity, -infinity),
          outcomes(c, positive_nan, negative_nan),
          outcome(c, -0.0f),
          outcomes(c, smallest_float, -smallest_float)};
}

/// Prints one row for coders that follow each other and do the same.
class PolicyRows {
 public:
  ~PolicyRows() { flush(); }
  void add(const Coder& c) {
    std::vector<std::string> cells = policy(c);
    if (cells != cells_) {
      flush();
      first_ = c.name;
      cells_ = std::move(cells);
    }
    last_ = c.name;
  }

 private:
  void flush() {
    if (cells_.empty()) return;
    cells_.insert(cells_.begin(), quoted(first_) + (last_ == first_ ? "" : " to " + quoted(last_)));
    row(cells_);
    cells_.clear();
  }
  std::string first_, last_;
  std::vector<std::string> cells_;
};

constexpr std::array<std::pair<E2M1Rule, std::string_view>, 4> e2m1_rules{{{E2M1Rule::ocp, "ocp"},
                                                                           {E2M1Rule::positive_zero, "positive_zero"},
                                                                           {E2M1Rule::modelopt_mxfp4, "modelopt_mxfp4"},
                                                                           {E2M1Rule::ggml, "ggml"}}};
constexpr std::array<std::pair<Rounding, std::string_view>, 3> roundings{
    {{Rounding::nearest_even, "nearest_even"},
     {Rounding::nearest_away, "nearest_away"},
     {Rounding::nearest_toward_zero, "nearest_toward_zero"}}};
constexpr std::array<std::pair<NanRule, std::string_view>, 5> nan_rules{{{NanRule::quiet, "quiet"},
                                                                         {NanRule::canonical, "canonical"},
                                                                         {NanRule::zero, "zero"},
                                                                         {NanRule::maximum, "maximum"},
                                                                         {NanRule::opposite, "opposite"}}};
constexpr std::array<std::pair<ExponentRule, std::string_view>, 5> exponent_rules{
    {{ExponentRule::floor, "floor"},
     {ExponentRule::ceil, "ceil"},
     {ExponentRule::ties_up, "ties_up"},
     {ExponentRule::ml_dtypes, "ml_dtypes"},
     {ExponentRule::openvino, "openvino"}}};
constexpr std::array<std::pair<SharedExponent, std::string_view>, 7> shared_exponents{
    {{SharedExponent::floor, "floor"},
     {SharedExponent::floor_log2f, "floor_log2f"},
     {SharedExponent::ceil, "ceil"},
     {SharedExponent::ceil_ratio, "ceil_ratio"},
     {SharedExponent::nncf, "nncf"},
     {SharedExponent::bump, "bump"},
     {SharedExponent::nearest, "nearest"}}};

/// Calls visit.operator()<value>(name) for each enumerator of a list.
template <const auto& List, class Visit>
void for_each_of(Visit visit) {
  [&]<std::size_t... I>(std::index_sequence<I...>) {
    (visit.template operator()<List[I].first>(List[I].second), ...);
  }(std::make_index_sequence<List.size()>());
}

void encoders() {
  fmt::print(
      "\n## Encoders\n\nWithout policies. Where two outcomes stand, the second is that of the negative input. A half "
      "lies "
      "between two\nvalues that the encoder writes; a value \"from x on\" has its border there instead. \"Beyond\" is "
      "the "
      "largest float.\n\n");
  head({"encoder", "halves", "beyond", "infinity", "NaN", "-0", number(smallest_float)});
  PolicyRows rows;
  for_each_width(widths, [&]<int B>() { rows.add(coder<Int<B>>(fmt::format("Int<{}>", B))); });
  for_each_width(widths, [&]<int B>() { rows.add(coder<UInt<B>>(fmt::format("UInt<{}>", B))); });
  const auto visit = [&]<class F>(std::string_view label) { rows.add(coder<F>(std::string(label))); };
  for_each(visit, fixed_points, minifloats);
  for_each_of<e2m1_rules>([&]<E2M1Rule R>(std::string_view name) {
    rows.add(coder<E2M1>(fmt::format("encode_e2m1<{}>", name), encode_e2m1<R>));
  });
  rows.add(coder<UE4M3>("ue4m3 (gguf)"));
  for_each(visit, tables);
  rows.add(coder<BnbFP4>("BnbFP4, bucketize", BnbFP4::encode<BnbFP4Rule::bucketize>));
}

std::vector<std::string> labels(std::string first, std::span<const float> inputs) {
  std::vector<std::string> columns{std::move(first)};
  for (const float x : inputs) columns.push_back(number(x));
  return columns;
}

void rounded_row(const Coder& c, std::span<const float> inputs) {
  std::vector<std::string> cells{quoted(c.name)};
  for (const float x : inputs) cells.push_back(number(c.round(x)));
  row(cells);
}

void rounding_policies() {
  fmt::print("\n### Rounding of halves\n\nThe halves of `E2M1` and what stands near zero.\n\n");
  const std::vector<float> values = written_values(coder<E2M1>("E2M1"));
  std::vector<float> inputs;
  for (std::size_t i = 0; i + 1 < values.size(); ++i)
    if (values[i] >= 0.0f) inputs.push_back(0.5f * (values[i] + values[i + 1]));
  inputs.insert(inputs.end(), {-inputs.front(), -smallest_float, 0.0f, -0.0f});
  head(labels("policy", inputs));
  for_each_of<roundings>([&]<Rounding R>(std::string_view name) {
    rounded_row(coder<E2M1>(std::string(name), E2M1::encode<Conversion{.rounding = R}>), inputs);
  });
  for_each_of<e2m1_rules>([&]<E2M1Rule R>(std::string_view name) {
    rounded_row(coder<E2M1>(fmt::format("encode_e2m1<{}>", name), encode_e2m1<R>), inputs);
  });
}

template <class F>
void overflow_row(std::string_view label) {
  const Coder saturate = coder<F>(std::string(label), F::template encode<Conversion{.overflow = Overflow::saturate}>);
  const Coder special = coder<F>(std::string(label), F::template encode<Conversion{.overflow = Overflow::special}>);
  const float last = F::max;
  std::string border = "-";
  if (!is_finite(special.round(largest_float))) {
    const float first = first_float(last, largest_float, [&](float x) { return !is_finite(special.round(x)); });
    const float before = from_ordered(to_ordered(first) - 1);
    const bool tie_stays =
        std::countr_zero(std::bit_cast<std::uint32_t>(before)) > std::countr_zero(std::bit_cast<std::uint32_t>(first));
    border = tie_stays ? "above " + number(before) : "from " + number(first);
  }
  row({quoted(label), number(last), outcomes(saturate, infinity, -infinity), border,
       outcomes(special, largest_float, -largest_float), outcomes(special, infinity, -infinity)});
}

void overflow_policies() {
  fmt::print("\n### Overflow\n\n");
  head(
      {"format", "largest", "`saturate`: infinity", "`special` overflows", "`special`: beyond", "`special`: infinity"});
  for_each([]<class F>(std::string_view label) { overflow_row<F>(label); }, minifloats);
}

void nan_policies() {
  fmt::print("\n### NaN\n\nWhat becomes of +NaN and -NaN with every bit of the payload set.\n\n");
  std::vector<std::string> columns{"format"};
  for_each_of<nan_rules>([&]<NanRule>(std::string_view name) { columns.push_back(quoted(name)); });
  head(columns);
  const auto visit = []<class F>(std::string_view label) {
    std::vector<std::string> cells{quoted(label)};
    for_each_of<nan_rules>([&]<NanRule R>(std::string_view) {
      const Coder c = coder<F>(std::string(label), F::template encode<Conversion{.nan = R}>);
      cells.push_back(outcomes(c, positive_nan, negative_nan));
    });
    row(cells);
  };
  for_each(visit, minifloats, std::tuple{Named<Int<8>>{"Int<8>"}, Named<UInt<8>>{"UInt<8>"}});
}

void exponent_policies() {
  fmt::print(
      "\n### Powers of two\n\n`E8M0::encode` by its rules; `special` where a rule heeds the overflow policy.\n\n");
  constexpr std::array inputs{0.0f,  smallest_float, 1.25f,    1.5f,      1.75f,        3.0f,
                              -3.0f, largest_float,  infinity, -infinity, positive_nan, negative_nan};
  head(labels("rule", inputs));
  for_each_of<exponent_rules>([&]<ExponentRule R>(std::string_view name) {
    const Coder saturate = coder<E8M0>(std::string(name), E8M0::encode<R>);
    const Coder special = coder<E8M0>(fmt::format("{}, special", name), E8M0::encode<R, Overflow::special>);
    rounded_row(saturate, inputs);
    if (saturate.encode(largest_float) != special.encode(largest_float)) rounded_row(special, inputs);
  });

  fmt::print("\nThe scale of a block of `E2M1` from its largest magnitude, `shared_exponent` by its rules.\n\n");
  constexpr std::array magnitudes{0.0f,    smallest_float,
                                  4.0f,    5.0f,
                                  6.0f,    from_ordered(to_ordered(6.0f) + 1),
                                  7.0f,    from_ordered(to_ordered(8.0f) - 1),
                                  8.0f,    largest_float,
                                  infinity};
  head(labels("rule", magnitudes));
  for_each_of<shared_exponents>([&]<SharedExponent R>(std::string_view name) {
    rounded_row(coder<E8M0>(std::string(name), shared_exponent<E2M1, R>), magnitudes);
  });
}

template <Nvfp4Dialect D>
void nvfp4_row(std::string_view name) {
  const auto scale = [](float magnitude) { return number(E4M3::decode(nvfp4_block_scale<D>(magnitude, 1.0f))); };
  row({quoted(name), number(nvfp4_tensor_scale<D>(E2M1::max)), number(nvfp4_tensor_scale<D>(0.0f)), scale(0.0f),
       scale(smallest_float), scale(E2M1::max), scale(largest_float)});
}

void nvfp4_policies() {
  fmt::print(
      "\n### Scales of NVFP4\n\nBlock scales at a tensor scale of 1; the columns name the largest magnitude.\n\n");
  const std::string top = number(E2M1::max);
  head({"dialect", "tensor, " + top, "tensor, 0", "block, 0", "block, " + number(smallest_float), "block, " + top,
        "block, " + number(largest_float)});
  nvfp4_row<Nvfp4Dialect::modelopt>("modelopt");
  nvfp4_row<Nvfp4Dialect::compressed_tensors>("compressed_tensors");
}

void value_table(const Coder& c) {
  const std::uint32_t columns = std::min(c.codes(), c.bits <= 4 ? 8u : 16u);
  fmt::print("\n### {}\n\n", c.name);
  std::vector<std::string> cells{"code"};
  for (std::uint32_t i = 0; i < columns; ++i) cells.push_back(fmt::format("+{:X}", i));
  head(cells);
  for (std::uint32_t first = 0; first < c.codes(); first += columns) {
    cells = {c.hex(first)};
    for (std::uint32_t i = 0; i < columns; ++i) cells.push_back(number(c.decode(first + i)));
    row(cells);
  }
}

template <int B>
void integer_row() {
  using F = Int<B>;
  const Coder c = coder<F>("");
  std::string stored[2];
  for (const std::int32_t value : {F::lowest, 0, F::highest}) {
    const std::uint32_t code = F::encode(static_cast<float>(value));
    stored[0] += (stored[0].empty() ? "" : ", ") + c.hex(code);
    stored[1] += (stored[1].empty() ? "" : ", ") +
                 c.hex(convert_storage(code, B, IntegerStorage::twos_complement, IntegerStorage::offset_binary));
  }
  const std::uint32_t zero =
      convert_storage(F::encode(0.0f), B, IntegerStorage::twos_complement, IntegerStorage::zero_point);
  row({fmt::format("{}", B), fmt::format("{} .. {}", F::lowest, F::highest),
       fmt::format("{} .. {}", UInt<B>::lowest, UInt<B>::highest), stored[0], stored[1], fmt::format("{}", zero)});
}

void values() {
  fmt::print(
      "\n## Values\n\n### Integers\n\nThe bits of the lowest integer, 0 and the highest in two of the three ways to "
      "store them, and the zero\npoint at which unsigned codes, the third, mean the same.\n\n");
  head({"bits", "`Int`", "`UInt`", "two's complement", "offset binary", "zero point"});
  for_each_width(widths, []<int B>() { integer_row<B>(); });
  const auto visit = []<class F>(std::string_view label) {
    if constexpr (F::bits <= 8) value_table(coder<F>(quoted(label)));
  };
  for_each(visit, tables, minifloats, scales);
}

}  // namespace

int main() {
  summary();
  encoders();
  rounding_policies();
  overflow_policies();
  nan_policies();
  exponent_policies();
  nvfp4_policies();
  values();
}
