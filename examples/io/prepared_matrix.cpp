#include "io/prepared_matrix.hpp"

#include <fmt/format.h>
#include <sys/mman.h>

#include <cstdint>
#include <cstdlib>
#include <memory_resource>
#include <span>
#include <type_traits>

namespace io {
using pare::Error;
using pare::ErrorCode;
using pare::Result;

struct PreparedMatrix::Concept {
  Concept() = default;
  Concept(const Concept&) = delete;
  Concept& operator=(const Concept&) = delete;
  virtual ~Concept() = default;
  [[nodiscard]] virtual pare::Shape shape() const = 0;
  [[nodiscard]] virtual std::size_t bytes() const = 0;
  virtual Result<void> matmul(pare::MatrixView<const float> x, pare::MatrixView<float> y, const pare::Options& options,
                              pare::ActivationScales scales) const = 0;
};

namespace {

/// Memory in huge pages, where the system has them: a product reads the weights once, from end to end, and would
/// otherwise look up a page for every few kilobytes. Where there is none left, nullptr, which pare::Buffer reports.
class HugePages final : public std::pmr::memory_resource {
  void* do_allocate(std::size_t size, std::size_t alignment) override {
    constexpr std::size_t huge = std::size_t{1} << 21;
    if (size < huge) return std::aligned_alloc(alignment, pare::ceil_div(size, alignment) * alignment);
    if (size > std::size_t(-1) - huge) return nullptr;
    void* const memory = std::aligned_alloc(huge, pare::ceil_div(size, huge) * huge);
#ifdef MADV_HUGEPAGE
    if (memory != nullptr) madvise(memory, size / huge * huge, MADV_HUGEPAGE);  // advice: nothing depends on it
#endif
    return memory;
  }
  void do_deallocate(void* memory, std::size_t, std::size_t) override { std::free(memory); }
  [[nodiscard]] bool do_is_equal(const std::pmr::memory_resource& other) const noexcept override {
    return this == &other;
  }
};

template <class Prepared>
class Model final : public PreparedMatrix::Concept {
 public:
  explicit Model(Prepared weights) : weights_(std::move(weights)) {}
  [[nodiscard]] pare::Shape shape() const override { return weights_.shape(); }
  [[nodiscard]] std::size_t bytes() const override { return weights_.bytes(); }
  Result<void> matmul(pare::MatrixView<const float> x, pare::MatrixView<float> y, const pare::Options& options,
                      pare::ActivationScales scales) const override {
    return pare::matmul(weights_, x, y, options, scales);
  }

 private:
  Prepared weights_;
};

pare::Options in_huge_pages(pare::Options options) {
  static HugePages huge_pages;
  if (options.memory == nullptr) options.memory = &huge_pages;
  return options;
}

std::span<const std::uint8_t> as_codes(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()};
}

}  // namespace

bool PreparedMatrix::takes(std::string_view scheme) {
  const auto answer = pare::with_scheme(
      scheme, []<class S>(std::type_identity<S>) -> Result<bool> { return pare::PreparableScheme<S>; });
  return answer && *answer;
}

Result<PreparedMatrix> PreparedMatrix::prepare(const PackedMatrix& packed, const pare::Options& options,
                                               pare::ActivationScales scales) {
  return pare::with_scheme(packed.scheme(), [&]<class S>(std::type_identity<S>) -> Result<PreparedMatrix> {
    if constexpr (pare::PreparableScheme<S>) {
      const auto view = pare::PackedView<S>::over(packed.shape(), as_codes(packed.codes()), as_codes(packed.scales()),
                                                  as_codes(packed.zero_points()));
      if (!view) return view.error();
      auto tensor = pare::prepare<S>(*view, in_huge_pages(options));
      if (!tensor) return std::move(tensor).error();
      return PreparedMatrix(std::make_shared<Model<pare::PreparedTensor<S>>>(*std::move(tensor)), scales);
    } else {
      return Error{ErrorCode::unsupported, fmt::format("{} cannot be prepared", packed.scheme())};
    }
  });
}

Result<PreparedMatrix> PreparedMatrix::prepare(const pare::CodedMatrix& codes, const pare::Options& options,
                                               pare::ActivationScales scales) {
  auto matrix = pare::prepare(codes, in_huge_pages(options));
  if (!matrix) return std::move(matrix).error();
  return PreparedMatrix(std::make_shared<Model<pare::PreparedMatrix>>(*std::move(matrix)), scales);
}

pare::Shape PreparedMatrix::shape() const { return self_->shape(); }
std::size_t PreparedMatrix::bytes() const { return self_->bytes(); }

Result<void> PreparedMatrix::matmul(pare::MatrixView<const float> x, pare::MatrixView<float> y,
                                    const pare::Options& options) const {
  return self_->matmul(x, y, options, scales_);
}

}  // namespace io
