#include "io/packed_matrix.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <utility>

#include "fixtures.hpp"
#include "io/prepared_matrix.hpp"
#include "io/thread_pool.hpp"
#include "pare/metrics/metrics.hpp"

namespace {
using io::Checkpoint;
using io::DType;
using io::PackedEntry;
using io::PackedMatrix;
using pare::Shape;

/// Values that F16 and BF16 hold exactly: up to seven bits times a power of two.
std::vector<float> values(std::size_t count, std::uint32_t seed = 1) {
  std::mt19937 random(seed);
  std::vector<float> v(count);
  for (float& x : v) x = std::ldexp(static_cast<float>(random() % 255) - 127.0f, static_cast<int>(random() % 4) - 8);
  return v;
}

template <class T>
std::vector<std::byte> elements(const std::vector<float>& v, std::size_t offset = 0) {
  std::vector<std::byte> bytes(offset + v.size() * sizeof(T));
  for (std::size_t i = 0; i < v.size(); ++i) {
    const T element(v[i]);
    std::memcpy(bytes.data() + offset + i * sizeof(T), &element, sizeof(T));
  }
  return bytes;
}

template <class Bytes>
std::vector<std::uint8_t> copy(const Bytes& bytes) {
  std::vector<std::uint8_t> out(bytes.size());
  if (!out.empty()) std::memcpy(out.data(), bytes.data(), out.size());
  return out;
}

void expect_equal(const PackedMatrix& a, const PackedMatrix& b) {
  EXPECT_EQ(copy(a.codes()), copy(b.codes()));
  EXPECT_EQ(copy(a.scales()), copy(b.scales()));
  EXPECT_EQ(copy(a.zero_points()), copy(b.zero_points()));
}

template <pare::SchemeType S>
void expect_is(const PackedMatrix& packed, const std::vector<float>& weights, Shape shape) {
  SCOPED_TRACE(pare::name<S>());
  const auto expected = pare::quantize<S, pare::ReferenceKernels>(weights, shape);
  ASSERT_TRUE(expected) << expected.error().message;
  EXPECT_EQ(packed.scheme(), pare::name<S>());
  EXPECT_EQ(packed.shape(), shape);
  EXPECT_EQ(copy(packed.codes()), copy(expected->codes()));
  EXPECT_EQ(copy(packed.scales()), copy(expected->scales()));
  EXPECT_EQ(copy(packed.zero_points()), copy(expected->zero_points()));
  EXPECT_DOUBLE_EQ(packed.bits_per_weight(), expected->bits_per_weight());
}

template <class... S>
struct List {};
/// One of each granularity, symmetry and kind of scale; the test is not to compile the whole catalog once more.
using Sample = List<pare::catalog::Int4Group32, pare::catalog::Int8AsymChannel, pare::catalog::FP8Tensor,
                    pare::catalog::FP8Block128, pare::catalog::MXFP4, pare::catalog::Int4Group32F16>;

template <class F, class... S>
void for_each(List<S...>, F&& f) {
  (f.template operator()<S>(), ...);
}

TEST(PackedMatrix, GivesTheBytesOfTheLibrary) {
  const Shape shape{131, 150};
  const auto weights = values(shape.rows * shape.cols);
  const auto bytes = elements<float>(weights);
  for_each(Sample{}, [&]<class S>() {
    const auto packed = PackedMatrix::quantize(pare::name<S>(), DType::f32, bytes, shape);
    ASSERT_TRUE(packed) << packed.error().message;
    expect_is<S>(*packed, weights, shape);
  });
}

TEST(PackedMatrix, EverySchemeTakesEveryElementTypeAtAnyAddress) {
  const Shape shape{5, 67};
  const auto weights = values(shape.rows * shape.cols, 2);
  for (const std::string_view scheme : pare::Catalog::names) {
    SCOPED_TRACE(scheme);
    const auto f32 = PackedMatrix::quantize(scheme, DType::f32, elements<float>(weights), shape);
    const auto f16 = PackedMatrix::quantize(scheme, DType::f16, elements<pare::Half>(weights), shape);
    const auto bf16 = PackedMatrix::quantize(scheme, DType::bf16, elements<pare::BFloat16>(weights), shape);
    ASSERT_TRUE(f32 && f16 && bf16);
    EXPECT_EQ(f32->scheme(), scheme);
    expect_equal(*f32, *f16);
    expect_equal(*f32, *bf16);
    for (const std::size_t offset : {1u, 2u, 3u}) {
      const auto shifted = elements<float>(weights, offset), narrow = elements<pare::Half>(weights, offset);
      const auto a = PackedMatrix::quantize(scheme, DType::f32, std::span(shifted).subspan(offset), shape);
      const auto b = PackedMatrix::quantize(scheme, DType::f16, std::span(narrow).subspan(offset), shape);
      ASSERT_TRUE(a && b);
      expect_equal(*f32, *a);
      expect_equal(*f32, *b);
    }
  }
}

TEST(PreparedMatrix, MultipliesAsThePackedOneDoes) {
  const Shape shape{37, 300};
  const auto bytes = elements<float>(values(shape.rows * shape.cols, 6));
  const auto x = values(3 * shape.cols, 7);
  std::vector<float> y(3 * shape.rows), expected(y.size());
  const pare::MatrixView<const float> in(x.data(), 3, shape.cols);
  std::size_t taken = 0;
  for (const std::string_view scheme : pare::Catalog::names) {
    SCOPED_TRACE(scheme);
    const auto packed = PackedMatrix::quantize(scheme, DType::f32, bytes, shape);
    ASSERT_TRUE(packed);
    const auto prepared = io::PreparedMatrix::prepare(*packed);
    ASSERT_EQ(prepared.has_value(), io::PreparedMatrix::takes(scheme));
    if (!prepared) {
      EXPECT_EQ(prepared.error().code, pare::ErrorCode::unsupported);
      continue;
    }
    ++taken;
    EXPECT_EQ(prepared->shape(), shape);
    EXPECT_GE(prepared->bytes(), packed->codes().size() / 2);
    ASSERT_TRUE(packed->matmul(in, {expected.data(), 3, shape.rows}));
    ASSERT_TRUE(prepared->matmul(in, {y.data(), 3, shape.rows}));
    double error = 0.0, total = 0.0;
    for (std::size_t i = 0; i < y.size(); ++i) {
      error += std::pow(double{y[i]} - double{expected[i]}, 2.0);
      total += std::pow(double{expected[i]}, 2.0);
    }
    EXPECT_LT(error, 1e-4 * total);
    EXPECT_GT(error, 0.0);
  }
  EXPECT_GE(taken, 20u);
  EXPECT_FALSE(io::PreparedMatrix::takes("nf4"));
  EXPECT_FALSE(io::PreparedMatrix::takes("int4-of-no-catalog"));
}

TEST(PackedMatrix, MaskedWeightsAreZeroAndOutsideTheRange) {
  const Shape shape{3000, 1001};  // several pieces, also at boundaries of 128 rows
  auto weights = values(shape.rows * shape.cols, 3);
  auto mask = pare::Mask::create(shape);
  ASSERT_TRUE(mask);
  std::mt19937 random(4);
  auto kept = weights;
  for (std::size_t i = 0; i < kept.size(); ++i) {
    if (random() % 2 == 0) continue;
    mask->set(i / shape.cols, i % shape.cols, false);
    kept[i] = 0.0f;
    const float extremes[] = {1e30f, -1e30f, std::numeric_limits<float>::quiet_NaN(),
                              std::numeric_limits<float>::infinity()};
    weights[i] = extremes[random() % 4];
  }
  const auto bytes = elements<float>(weights);
  io::ThreadPool pool(2);
  for_each(Sample{}, [&]<class S>() {
    const auto packed =
        PackedMatrix::quantize(pare::name<S>(), DType::f32, bytes, shape, mask->view(), {.executor = pool});
    ASSERT_TRUE(packed) << packed.error().message;
    const auto expected = PackedMatrix::quantize(pare::name<S>(), DType::f32, elements<float>(kept), shape);
    ASSERT_TRUE(expected);
    SCOPED_TRACE(pare::name<S>());
    EXPECT_TRUE(std::ranges::equal(packed->codes(), expected->codes()));
    EXPECT_TRUE(std::ranges::equal(packed->scales(), expected->scales()));
    EXPECT_TRUE(std::ranges::equal(packed->zero_points(), expected->zero_points()));
  });
}

TEST(PackedMatrix, RefusesWhatDoesNotFit) {
  const auto weights = values(12);
  const auto bytes = elements<float>(weights);
  const auto message = [](const auto& result) { return result ? std::string() : result.error().message; };
  EXPECT_NE(message(PackedMatrix::quantize("int5-g7", DType::f32, bytes, {3, 4})).find("unknown scheme \"int5-g7\""),
            std::string::npos);
  EXPECT_EQ(message(PackedMatrix::quantize("int4", DType::i64, bytes, {3, 4})),
            "I64 elements cannot be quantized, only F32, F16 and BF16");
  EXPECT_EQ(message(PackedMatrix::quantize("int4", DType::f32, bytes, {3, 5})),
            "a matrix of 3 x 5 F32 elements does not have 48 bytes");
  const std::size_t huge = std::numeric_limits<std::size_t>::max() / 2 + 1;  // times 2 it wraps to 0
  EXPECT_FALSE(PackedMatrix::quantize("int4", DType::f32, {}, {huge, 2}));
  EXPECT_FALSE(PackedMatrix::quantize("int4", DType::f16, {}, {huge, 1}));
  auto mask = pare::Mask::create({3, 5});
  ASSERT_TRUE(mask);
  EXPECT_EQ(message(PackedMatrix::quantize("int4", DType::f32, bytes, {3, 4}, mask->view())),
            "the mask and the matrix differ in shape");
  EXPECT_FALSE(PackedMatrix::quantize("int4", DType::f32, bytes, {3, 4}, pare::MaskView{nullptr, 3, 4}));
}

TEST(PackedMatrix, EmptyMatricesAreFine) {
  for (const Shape shape : {Shape{0, 0}, Shape{0, 8}, Shape{8, 0}})
    for (const std::string_view scheme : pare::Catalog::names) {
      const auto packed = PackedMatrix::quantize(scheme, DType::f16, {}, shape);
      ASSERT_TRUE(packed) << packed.error().message;
      EXPECT_EQ(packed->shape(), shape);
      EXPECT_EQ(packed->codes().size(), 0u);
      EXPECT_EQ(packed->bits_per_weight(), 0.0);
      const auto masked =
          PackedMatrix::quantize(scheme, DType::f16, {}, shape, pare::MaskView{nullptr, shape.rows, shape.cols});
      EXPECT_TRUE(masked);
      EXPECT_TRUE(packed->dequantize({nullptr, shape.rows, shape.cols}));
    }
}

TEST(PackedMatrix, StandsOverStoredPartsWithoutACopy) {
  const Shape shape{6, 70};
  const auto weights = values(shape.rows * shape.cols, 5);
  for (const std::string_view scheme : pare::Catalog::names) {
    SCOPED_TRACE(scheme);
    const auto packed = PackedMatrix::quantize(scheme, DType::f32, elements<float>(weights), shape);
    ASSERT_TRUE(packed);
    const auto again = PackedMatrix::over(scheme, shape, packed->codes(), packed->scales(), packed->zero_points());
    ASSERT_TRUE(again) << again.error().message;
    EXPECT_EQ(again->codes().data(), packed->codes().data());
    EXPECT_EQ(again->scales().data(), packed->scales().data());
    EXPECT_EQ(again->scale_dtype(), packed->scale_dtype());
    EXPECT_EQ(again->scale_grid(), packed->scale_grid());
    EXPECT_EQ(packed->scale_grid().rows * packed->scale_grid().cols * io::bits(packed->scale_dtype()) / 8,
              packed->scales().size());

    std::vector<float> a(weights.size()), b(weights.size());
    ASSERT_TRUE(packed->dequantize({a.data(), shape.rows, shape.cols}));
    ASSERT_TRUE(again->dequantize({b.data(), shape.rows, shape.cols}));
    EXPECT_EQ(a, b);
    const auto error = pare::error_statistics(std::span<const float>(weights), std::span<const float>(a));
    ASSERT_TRUE(error);
    EXPECT_GT(error->sqnr(), scheme.starts_with("int2") ? 2.0 : 8.0);

    const auto codes = packed->codes(), scales = packed->scales(), zeros = packed->zero_points();
    EXPECT_FALSE(PackedMatrix::over(scheme, shape, codes.subspan(1), scales, zeros));
    EXPECT_FALSE(PackedMatrix::over(scheme, shape, codes, scales.subspan(1), zeros));
    EXPECT_FALSE(PackedMatrix::over(scheme, shape, codes, scales, codes.first(zeros.size() + 1)));
    EXPECT_FALSE(PackedMatrix::over(scheme, {shape.rows + 1, shape.cols}, codes, scales, zeros));
  }
  EXPECT_FALSE(PackedMatrix::over("no-such", shape, {}, {}, {}));
}

TEST(PackedMatrix, SharesItsBytesWithItsCopies) {
  std::vector<float> out(64);
  const auto weights = values(64, 6);
  auto first = PackedMatrix::quantize("int8", DType::f32, elements<float>(weights), {4, 16});
  ASSERT_TRUE(first);
  const std::byte* codes = first->codes().data();
  const PackedMatrix second = *first;
  const PackedMatrix third = *std::move(first);
  EXPECT_EQ(second.codes().data(), codes);
  EXPECT_EQ(third.codes().data(), codes);
  EXPECT_TRUE(third.dequantize({out.data(), 4, 16}));
}

TEST(PackedMatrix, MultipliesAsItDequantizes) {
  const Shape shape{9, 75};
  const auto weights = values(shape.rows * shape.cols, 7), x = values(3 * shape.cols, 8);
  for (const std::string_view scheme : pare::Catalog::names) {
    SCOPED_TRACE(scheme);
    const auto packed = PackedMatrix::quantize(scheme, DType::f32, elements<float>(weights), shape);
    ASSERT_TRUE(packed);
    std::vector<float> w(weights.size()), y(3 * shape.rows);
    ASSERT_TRUE(packed->dequantize({w.data(), shape.rows, shape.cols}));
    ASSERT_TRUE(packed->matmul({x.data(), 3, shape.cols}, {y.data(), 3, shape.rows}));
    for (std::size_t m = 0; m < 3; ++m)
      for (std::size_t n = 0; n < shape.rows; ++n) {
        double sum = 0.0, magnitude = 0.0;
        for (std::size_t c = 0; c < shape.cols; ++c) {
          const double product = double{x[m * shape.cols + c]} * w[n * shape.cols + c];
          sum += product;
          magnitude += std::fabs(product);
        }
        EXPECT_NEAR(y[m * shape.rows + n], sum, magnitude * 16 * 0x1p-24);
      }
    EXPECT_FALSE(packed->matmul({x.data(), 1, shape.cols - 1}, {y.data(), 1, shape.rows}));
    EXPECT_FALSE(packed->dequantize({w.data(), shape.rows, shape.cols - 1}));
  }
}

/// Writes a safetensors file of zeros.
void write_file(const fixtures::fs::path& path, const std::vector<io::TensorInfo>& tensors,
                const io::Metadata& metadata) {
  auto writer = io::SafetensorsWriter::create(path, tensors, metadata);
  ASSERT_TRUE(writer) << writer.error().message;
  for (const io::TensorInfo& tensor : writer->tensors())
    ASSERT_TRUE(writer->write(tensor.name, std::vector<std::byte>(*io::byte_count(tensor.dtype, tensor.shape))));
  ASSERT_TRUE(writer->finish());
}

TEST(PackedEntries, ComeBackAsTheyWereWritten) {
  const fixtures::Folder folder;
  const std::vector<PackedEntry> entries{
      {"a \"quoted\" \xc3\xa9", "int4", {3, 5, 2, 2}}, {"b", "int8-asym-g32", {7, 40}}, {"c", "mxfp4", {4}}};
  std::vector<io::TensorInfo> tensors{{"plain", DType::f32, {2}}};
  for (const PackedEntry& entry : entries) {
    const auto parts = io::packed_parts(entry);
    ASSERT_TRUE(parts) << parts.error().message;
    EXPECT_EQ(parts->size(), entry.scheme == "int8-asym-g32" ? 3u : 2u);
    tensors.insert(tensors.end(), parts->begin(), parts->end());
  }
  write_file(folder / "m.safetensors", tensors, {{"pare", io::packed_metadata(entries)}, {"other", "x"}});
  const auto checkpoint = Checkpoint::open(folder / "m.safetensors");
  ASSERT_TRUE(checkpoint) << checkpoint.error().message;
  const auto read = io::packed_entries(*checkpoint);
  ASSERT_TRUE(read) << read.error().message;
  ASSERT_EQ(read->size(), entries.size());
  const std::string_view schemes[] = {"int4-g128", "int8-asym-g32", "e2m1-g32-e8m0"};
  const Shape shapes[] = {{3, 20}, {7, 40}, {4, 1}};
  for (std::size_t i = 0; i < entries.size(); ++i) {
    EXPECT_EQ((*read)[i].name, entries[i].name);
    EXPECT_EQ((*read)[i].scheme, schemes[i]);
    EXPECT_EQ((*read)[i].shape, entries[i].shape);
    const auto matrix = io::load_packed(*checkpoint, (*read)[i]);
    ASSERT_TRUE(matrix) << matrix.error().message;
    EXPECT_EQ(matrix->shape(), shapes[i]);
    EXPECT_EQ(matrix->codes().data(), checkpoint->find(entries[i].name + ".codes")->bytes.data());
  }
}

TEST(PackedEntries, NoneWithoutMetadata) {
  const fixtures::Folder folder;
  write_file(folder / "m.safetensors", {{"plain", DType::f32, {2}}}, {{"format", "pt"}});
  const auto checkpoint = Checkpoint::open(folder / "m.safetensors");
  ASSERT_TRUE(checkpoint);
  const auto entries = io::packed_entries(*checkpoint);
  ASSERT_TRUE(entries);
  EXPECT_TRUE(entries->empty());
}

TEST(PackedEntries, HostileMetadataIsRefusedInOneLine) {
  const std::pair<std::string, std::string> cases[] = {
      {"", "invalid JSON"},
      {"{", "invalid JSON"},
      {"[]", "is not an object"},
      {"{}", "has no version"},
      {R"({"version":"1","tensors":{}})", "has no version"},
      {R"({"version":-1,"tensors":{}})", "has no version"},
      {R"({"version":2,"tensors":{}})", "version 2 is not 1"},
      {R"({"version":1})", "has no object \"tensors\""},
      {R"({"version":1,"tensors":[]})", "has no object \"tensors\""},
      {R"({"version":1,"tensors":{"w":1}})", "tensor \"w\": its description is not an object"},
      {R"({"version":1,"tensors":{"w":{"shape":[1,1]}}})", "tensor \"w\": its scheme is not a string"},
      {R"({"version":1,"tensors":{"w":{"scheme":4,"shape":[1,1]}}})", "tensor \"w\": its scheme is not a string"},
      {R"({"version":1,"tensors":{"w":{"scheme":"int9","shape":[1,1]}}})", "tensor \"w\": unknown scheme \"int9\""},
      {R"({"version":1,"tensors":{"w":{"scheme":"int4"}}})", "tensor \"w\": its shape is not a list"},
      {R"({"version":1,"tensors":{"w":{"scheme":"int4","shape":{}}}})", "tensor \"w\": its shape is not a list"},
      {R"({"version":1,"tensors":{"w":{"scheme":"int4","shape":[]}}})",
       "tensor \"w\": a packed matrix has at least one"},
      {R"({"version":1,"tensors":{"w":{"scheme":"int4","shape":[1,-1]}}})", "tensor \"w\": its shape is not a list of"},
      {R"({"version":1,"tensors":{"w":{"scheme":"int4","shape":[1,1.5]}}})",
       "tensor \"w\": its shape is not a list of"},
      {R"({"version":1,"tensors":{"w":{"scheme":"int4","shape":[1,1e30]}}})",
       "tensor \"w\": its shape is not a list of"},
      {R"({"version":1,"tensors":{"w":{"scheme":"int4","shape":[4294967296,4294967296]}}})", "is too large"},
      {R"({"version":1,"tensors":{"w":{"scheme":"int4","shape":[2,4294967296,4294967296]}}})", "is too large"},
      {R"({"version":1,"tensors":{"w":{"scheme":"int4","shape":[1,9223372036854775807]}}})", "too large"},
      {R"({"version":1,"tensors":{"w":{"scheme":"int4-g32","shape":[4611686018427387904,1]}}})", "too large"},
      {R"({"version":1,"tensors":{"w":{},"w":{}}})", "duplicate key \"w\""},
      {R"({"version":1,"tensors":{"plain":{"scheme":"int4","shape":[1,1]}}})", "both packed and not packed"},
  };
  const fixtures::Folder folder;
  const auto path = folder / "hostile.safetensors";
  for (const auto& [metadata, fault] : cases) {
    SCOPED_TRACE(metadata);
    write_file(path, {{"plain", DType::f32, {1}}}, {{"pare", metadata}});
    const auto checkpoint = Checkpoint::open(path);
    ASSERT_TRUE(checkpoint) << checkpoint.error().message;
    const auto entries = io::packed_entries(*checkpoint);
    ASSERT_FALSE(entries);
    EXPECT_TRUE(entries.error().message.starts_with(path.string() + ": ")) << entries.error().message;
    EXPECT_NE(entries.error().message.find(fault), std::string::npos) << entries.error().message;
    EXPECT_EQ(entries.error().message.find('\n'), std::string::npos);
  }
}

TEST(PackedEntries, TwoShardsCannotDescribeTheSameMatrix) {
  const fixtures::Folder folder;
  const std::vector<PackedEntry> entries{{"w", "int8", {2, 2}}};
  const io::Metadata metadata{{"pare", io::packed_metadata(entries)}};
  write_file(folder / "1.safetensors", *io::packed_parts(entries[0]), metadata);
  write_file(folder / "2.safetensors", {{"plain", DType::f32, {1}}}, metadata);
  fixtures::write(folder / "model.safetensors.index.json",
                  R"({"weight_map":{"w.codes":"1.safetensors","w.scales":"1.safetensors","plain":"2.safetensors"}})");
  const auto checkpoint = Checkpoint::open(folder.path());
  ASSERT_TRUE(checkpoint) << checkpoint.error().message;
  const auto read = io::packed_entries(*checkpoint);
  ASSERT_FALSE(read);
  EXPECT_NE(read.error().message.find("tensor \"w\": is described as packed by two shards"), std::string::npos);
}

TEST(LoadPacked, NamesTheFileAndThePartThatIsWrong) {
  const PackedEntry entry{"w", "int4-asym-g32", {3, 40}};
  const auto parts = io::packed_parts(entry);
  ASSERT_TRUE(parts);
  ASSERT_EQ(parts->size(), 3u);
  const fixtures::Folder folder;
  const auto path = folder / "m.safetensors";
  for (std::size_t i = 0; i < parts->size(); ++i) {
    auto missing = *parts, dtype = *parts, shape = *parts, transposed = *parts;
    missing.erase(missing.begin() + static_cast<std::ptrdiff_t>(i));
    dtype[i].dtype = dtype[i].dtype == DType::u8 ? DType::i8 : DType::i32;
    ++shape[i].shape[1];
    std::swap(transposed[i].shape[0], transposed[i].shape[1]);
    for (const auto& tensors : {missing, dtype, shape, transposed}) {
      write_file(path, tensors, {});
      const auto checkpoint = Checkpoint::open(path);
      ASSERT_TRUE(checkpoint);
      const auto matrix = io::load_packed(*checkpoint, entry);
      ASSERT_FALSE(matrix);
      EXPECT_TRUE(matrix.error().message.starts_with(path.string() + ": ")) << matrix.error().message;
      EXPECT_NE(matrix.error().message.find("\"" + (*parts)[i].name + "\""), std::string::npos)
          << matrix.error().message;
      EXPECT_EQ(matrix.error().message.find('\n'), std::string::npos);
    }
  }
  write_file(path, *parts, {});
  const auto checkpoint = Checkpoint::open(path);
  ASSERT_TRUE(checkpoint);
  EXPECT_TRUE(io::load_packed(*checkpoint, entry));
  EXPECT_FALSE(io::load_packed(*checkpoint, {"w", "no-such", {3, 40}}));
  EXPECT_FALSE(io::load_packed(*checkpoint, {"w", "int4-asym-g32", {}}));
}

}  // namespace
