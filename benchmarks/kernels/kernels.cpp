// Every kernel, under every scheme of the catalog, on every instruction set that this processor has.
//
// Names are <kernel>/<scheme>/<target>; the targets `xsimd` (of the compiler's default architecture) and `scalar` are
// the other backends. --pare_size=BYTES sets the size of the weights as float32, rows of 4096 (default: 256 KiB, which
// the second-level cache holds; with 256 MiB they come from memory). GB/s counts bytes of float32; vs_memcpy is their
// rate over that of a memcpy of as many bytes, measured when the program starts. --json writes JSON, which plot.py
// draws.
#include <benchmark/benchmark.h>
#include <hwy/targets.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "pare/kernels/xsimd.hpp"
#include "pare/tensor/tensor.hpp"

namespace {

using pare::MatrixView;

/// Processor time, which a busy machine does not stretch.
double cpu_seconds() { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC; }

constexpr std::size_t columns = 4096;
constexpr std::size_t batch = 64;

/// What every benchmark reads and writes.
struct Data {
  pare::Shape shape;
  std::vector<float> weights;
  std::vector<pare::Half> halves;
  std::vector<pare::BFloat16> brains;
  std::vector<float> x;
  double memcpy_rate = 0.0;  ///< bytes a second

  explicit Data(std::size_t bytes)
      : shape{std::max<std::size_t>(1, bytes / sizeof(float) / columns), columns},
        weights(shape.rows * columns),
        halves(weights.size()),
        brains(weights.size()),
        x(batch * columns) {
    std::mt19937 random(1);
    std::normal_distribution<float> normal;
    for (float& v : x) v = normal(random);
    for (std::size_t i = 0; i < weights.size(); ++i) {
      weights[i] = x[i * 7919 % x.size()];
      halves[i] = pare::Half(weights[i]);
      brains[i] = pare::BFloat16(weights[i]);
    }
    memcpy_rate = measure_memcpy();
  }

  [[nodiscard]] std::size_t bytes() const { return weights.size() * sizeof(float); }

  template <class T>
  [[nodiscard]] const T* elements() const {
    if constexpr (std::is_same_v<T, float>) return weights.data();
    if constexpr (std::is_same_v<T, pare::Half>) return halves.data();
    if constexpr (std::is_same_v<T, pare::BFloat16>) return brains.data();
  }

 private:
  [[nodiscard]] double measure_memcpy() const {
    std::vector<float> copy(weights.size());
    const std::size_t repeats = std::max<std::size_t>(1, (std::size_t{1} << 26) / bytes());
    std::array<double, 15> rates;
    for (double& rate : rates) {
      const double start = cpu_seconds();
      for (std::size_t r = 0; r < repeats; ++r) {
        std::memcpy(copy.data(), weights.data(), bytes());
        benchmark::DoNotOptimize(copy.data());
        benchmark::ClobberMemory();
      }
      rate = static_cast<double>(repeats * bytes()) / (cpu_seconds() - start);
    }
    std::ranges::sort(rates);
    return rates[rates.size() / 2];
  }
};

std::unique_ptr<const Data> data;

/// Runs `work` on one target and sets the counters. `flops` is 0 for what is no product.
template <class Work>
void measure(benchmark::State& state, std::int64_t target, double flops, Work&& work) {
  hwy::SetSupportedTargetsForTest(target);
  bool succeeds = static_cast<bool>(work());
  const double start = cpu_seconds();
  for ([[maybe_unused]] auto iteration : state) {
    succeeds = static_cast<bool>(work()) && succeeds;
    benchmark::ClobberMemory();
  }
  const double seconds = cpu_seconds() - start;
  hwy::SetSupportedTargetsForTest(0);
  if (!succeeds) state.SkipWithError("the kernel refuses its arguments");
  const double times = static_cast<double>(state.iterations()) / seconds;
  const double rate = static_cast<double>(data->bytes()) * times;
  if (flops != 0.0) state.counters["GFLOP/s"] = flops * times * 1e-9;
  state.counters["GB/s"] = rate * 1e-9;
  state.counters["vs_memcpy"] = rate / data->memcpy_rate;
}

/// The verbs on tensors, under one scheme and with one backend.
template <class S, class K>
struct Verbs {
  static pare::PackedTensor<S> packed() {
    return std::move(*pare::quantize<S, K>(MatrixView<const float>(data->weights.data(), data->shape.rows, columns)));
  }

  template <class T>
  static void quantize(benchmark::State& state, std::int64_t target) {
    auto out = packed();
    const MatrixView<const T> weights(data->elements<T>(), data->shape.rows, columns);
    measure(state, target, 0.0, [&] { return pare::quantize_into<S, K>(weights, out.view()); });
  }

  template <class T>
  static void dequantize(benchmark::State& state, std::int64_t target) {
    const auto weights = packed();
    std::vector<T> out(data->weights.size());
    const MatrixView<T> view(out.data(), data->shape.rows, columns);
    measure(state, target, 0.0, [&] { return pare::dequantize<S, K>(weights.view(), view); });
  }

  template <std::size_t M>
  static void matmul(benchmark::State& state, std::int64_t target) {
    const auto weights = packed();
    std::vector<float> out(M * data->shape.rows);
    const MatrixView<const float> x(data->x.data(), M, columns);
    const MatrixView<float> y(out.data(), M, data->shape.rows);
    measure(state, target, 2.0 * static_cast<double>(M * data->weights.size()),
            [&] { return pare::matmul<S, K>(weights.view(), x, y); });
  }

  template <std::size_t M>
  static void prepared_matmul(benchmark::State& state, std::int64_t target) {
    const auto weights = std::move(*pare::prepare<S, K>(packed()));
    std::vector<float> out(M * data->shape.rows);
    const MatrixView<const float> x(data->x.data(), M, columns);
    const MatrixView<float> y(out.data(), M, data->shape.rows);
    measure(state, target, 2.0 * static_cast<double>(M * data->weights.size()),
            [&] { return pare::matmul<S, K>(weights, x, y); });
  }
};

/// NVFP4, under a known scale of the tensor.
template <class K>
struct Nvfp4Verbs {
  static constexpr auto dialect = pare::Nvfp4Dialect::modelopt;

  static pare::Nvfp4Tensor<dialect> packed() { return std::move(*pare::quantize_nvfp4<dialect, K>(weights())); }
  static MatrixView<const float> weights() { return {data->weights.data(), data->shape.rows, columns}; }

  static void quantize(benchmark::State& state, std::int64_t target) {
    auto out = packed();
    measure(state, target, 0.0, [&] { return pare::quantize_nvfp4_into<dialect, K>(weights(), out.view()); });
  }
  static void dequantize(benchmark::State& state, std::int64_t target) {
    const auto codes = packed();
    std::vector<float> out(data->weights.size());
    const MatrixView<float> view(out.data(), data->shape.rows, columns);
    measure(state, target, 0.0, [&] { return pare::dequantize<dialect, K>(codes, view); });
  }
};

template <class K, class T>
void find_range(benchmark::State& state, std::int64_t target, std::size_t group) {
  const std::size_t n = data->weights.size();
  std::vector<pare::Range> ranges(pare::ceil_div(n, group));
  measure(state, target, 0.0, [&] {
    K::find_range(data->elements<T>(), n, group, ranges.data());
    return true;
  });
}

template <class K, int Bits>
void pack(benchmark::State& state, std::int64_t target) {
  const std::vector<std::uint8_t> codes(data->weights.size(), 1);
  std::vector<std::uint8_t> packed(pare::packed_bytes(codes.size(), Bits));
  measure(state, target, 0.0, [&] {
    K::template pack<Bits>(codes.data(), codes.size(), packed.data());
    return true;
  });
}

template <class K, int Bits>
void unpack(benchmark::State& state, std::int64_t target) {
  std::vector<std::uint8_t> codes(data->weights.size());
  const std::vector<std::uint8_t> packed(pare::packed_bytes(codes.size(), Bits), 0x53);
  measure(state, target, 0.0, [&] {
    K::template unpack<Bits>(packed.data(), codes.size(), codes.data());
    return true;
  });
}

/// Registers benchmarks of one backend under one name for its target.
template <class K>
struct Registrar {
  std::string name;
  std::int64_t target = 0;

  template <class Function, class... Arguments>
  void add(std::string kernel, std::string_view what, Function* function, Arguments... arguments) const {
    kernel.append("/").append(what).append("/").append(name);
    benchmark::RegisterBenchmark(kernel.c_str(), function, target, arguments...);
  }

  template <class S>
  void add_main_verbs() const {
    using V = Verbs<S, K>;
    add("quantize", pare::name<S>(), &V::template quantize<float>);
    add("dequantize", pare::name<S>(), &V::template dequantize<float>);
    add("matvec", pare::name<S>(), &V::template matmul<1>);
    add("matmul" + std::to_string(batch), pare::name<S>(), &V::template matmul<batch>);
  }

  template <class S>
  void add_verbs() const {
    using V = Verbs<S, K>;
    add_main_verbs<S>();
    add("dequantize-f16", pare::name<S>(), &V::template dequantize<pare::Half>);
    add("dequantize-bf16", pare::name<S>(), &V::template dequantize<pare::BFloat16>);
  }

  template <class S>
  void add_prepared() const {
    using V = Verbs<S, K>;
    add("prepared-matvec", pare::name<S>(), &V::template prepared_matmul<1>);
    add("prepared-matmul" + std::to_string(batch), pare::name<S>(), &V::template prepared_matmul<batch>);
  }

  template <class T>
  void add_ranges(const std::string& kernel) const {
    for (const std::size_t group : {std::size_t{32}, std::size_t{128}, columns})
      add(kernel, "g" + std::to_string(group), &find_range<K, T>, group);
  }

  template <int Bits>
  void add_packing() const {
    add("pack", std::to_string(Bits) + "bit", &pack<K, Bits>);
    add("unpack", std::to_string(Bits) + "bit", &unpack<K, Bits>);
  }

  void add_nvfp4() const {
    add("quantize", "nvfp4", &Nvfp4Verbs<K>::quantize);
    add("dequantize", "nvfp4", &Nvfp4Verbs<K>::dequantize);
  }

  void add_primitives() const {
    add_ranges<float>("find_range");
    add_ranges<pare::Half>("find_range-f16");
    add_ranges<pare::BFloat16>("find_range-bf16");
    add_packing<2>();
    add_packing<3>();
    add_packing<4>();
    add_packing<5>();
    add_packing<6>();
    add_packing<7>();
    add_packing<8>();
  }
};

/// One scheme of each kind, for the backends that are there to compare with.
using FewSchemes =
    pare::SchemeList<pare::catalog::Int4Group32, pare::catalog::Int4AsymGroup32, pare::catalog::Int8Channel,
                     pare::catalog::NF4Group64, pare::catalog::MXFP4, pare::catalog::FP8Tensor>;

/// Those whose products with eight-bit activations have a form of their own; one of each kind.
using PreparedSchemes = pare::SchemeList<pare::catalog::Int4Group32, pare::catalog::Int4Group128,
                                         pare::catalog::Int4Group32F16, pare::catalog::Int4AsymGroup32,
                                         pare::catalog::Int8Channel, pare::catalog::Int8Group32, pare::catalog::MXFP4>;

template <class K>
void register_few(const char* name) {
  const Registrar<K> backend{name};
  backend.add_primitives();
  FewSchemes::for_each([&]<class S>(std::type_identity<S>) { backend.template add_main_verbs<S>(); });
  backend.add_nvfp4();
}

void register_all() {
  for (const std::int64_t target : hwy::SupportedAndGeneratedTargets()) {
    if ((target & (HWY_SCALAR | HWY_EMU128)) != 0) continue;  // these run the reference
    const Registrar<pare::HighwayKernels> backend{hwy::TargetName(target), target};
    backend.add_primitives();
    pare::Catalog::for_each([&]<class S>(std::type_identity<S>) { backend.add_verbs<S>(); });
    backend.add_nvfp4();
    PreparedSchemes::for_each([&]<class S>(std::type_identity<S>) { backend.add_prepared<S>(); });
  }
#if HWY_ARCH_X86
  // What refines AVX3 and is no target of its own: VNNI alone, for AMX is left out where AVX2 is, and all there is.
  const auto add_refinement = [](const char* name, std::int64_t targets) {
    const Registrar<pare::HighwayKernels> backend{name, targets};
    PreparedSchemes::for_each([&]<class S>(std::type_identity<S>) { backend.add_prepared<S>(); });
  };
  if ((hwy::SupportedTargets() & HWY_AVX3_DL) != 0) {
    add_refinement("VNNI", HWY_AVX3 | HWY_AVX3_DL);
    add_refinement("extensions", HWY_AVX3 | HWY_AVX3_DL | HWY_AVX2);
  }
#endif
  register_few<pare::XsimdKernels>("xsimd");
  register_few<pare::ReferenceKernels>("scalar");
}

/// Takes --pare_size=BYTES out of the arguments; 0 if it is no number.
std::size_t take_size(int& argc, char** argv) {
  constexpr std::string_view option = "--pare_size=";
  std::size_t bytes = std::size_t{256} << 10;
  char** const end = std::remove_if(argv + 1, argv + argc, [&](const char* argument) {
    const std::string_view text(argument);
    if (!text.starts_with(option)) return false;
    const auto [last, error] = std::from_chars(text.data() + option.size(), text.data() + text.size(), bytes);
    if (error != std::errc() || last != text.data() + text.size()) bytes = 0;
    return true;
  });
  argc = static_cast<int>(end - argv);
  return bytes;
}

/// Puts the library's option in the place of --json.
void expand_json(std::span<char*> arguments) {
  static std::string expanded = "--benchmark_format=json";
  for (char*& argument : arguments)
    if (std::string_view(argument) == "--json") argument = expanded.data();
}

}  // namespace

int main(int argc, char** argv) {
  expand_json({argv, static_cast<std::size_t>(argc)});
  const std::size_t bytes = take_size(argc, argv);
  if (bytes == 0) {
    std::fputs("--pare_size needs a number of bytes above 0\n", stderr);
    return 1;
  }
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  data = std::make_unique<const Data>(bytes);
  benchmark::AddCustomContext("float32 bytes", std::to_string(data->bytes()));
  benchmark::AddCustomContext("memcpy GB/s", std::to_string(data->memcpy_rate * 1e-9));
  register_all();
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
