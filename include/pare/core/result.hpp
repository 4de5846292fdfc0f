#pragma once

#include <memory>
#include <string>
#include <type_traits>
#include <utility>

namespace pare {

/// What kind of fault an Error reports; the message says the rest.
enum class ErrorCode {
  invalid_argument,  ///< a shape, pointer or option that contradicts another
  unsupported,       ///< a valid request that this build or format cannot serve
  out_of_memory,     ///< the memory resource could not provide what was asked
  corrupt_data,      ///< input bytes that violate their own format
  io,                ///< the operating system refused a file operation
  cancelled,         ///< the caller's progress callback asked to stop
};

/// A fault as a value: a kind for programs, one line for people.
struct Error {
  ErrorCode code = ErrorCode::invalid_argument;
  std::string message;
};

/// Either a T or an Error. Reading the side that is not there is a precondition violation, as with std::expected.
template <class T>
class [[nodiscard]] Result {
 public:
  using value_type = T;

  Result(T value) : value_(std::move(value)), has_value_(true) {}
  Result(Error error) : error_(std::move(error)) {}
  Result(const Result& other)
    requires std::is_copy_constructible_v<T>
      : error_(other.error_), has_value_(other.has_value_) {
    if (has_value_) std::construct_at(&value_, other.value_);
  }
  Result(Result&& other) noexcept(std::is_nothrow_move_constructible_v<T>)
      : error_(std::move(other.error_)), has_value_(other.has_value_) {
    if (has_value_) std::construct_at(&value_, std::move(other.value_));
  }
  Result& operator=(Result other) noexcept(std::is_nothrow_move_constructible_v<T>) {
    if (has_value_) std::destroy_at(&value_);
    has_value_ = false;
    if (other.has_value_) std::construct_at(&value_, std::move(other.value_));
    has_value_ = other.has_value_;
    error_ = std::move(other.error_);
    return *this;
  }
  ~Result() {
    if (has_value_) std::destroy_at(&value_);
  }

  [[nodiscard]] bool has_value() const noexcept { return has_value_; }
  explicit operator bool() const noexcept { return has_value_; }

  T& operator*() & noexcept { return value_; }
  const T& operator*() const& noexcept { return value_; }
  T&& operator*() && noexcept { return std::move(value_); }
  T* operator->() noexcept { return std::addressof(value_); }
  const T* operator->() const noexcept { return std::addressof(value_); }

  [[nodiscard]] const Error& error() const& noexcept { return error_; }
  [[nodiscard]] Error&& error() && noexcept { return std::move(error_); }

  /// Calls `next(value)`, which returns a Result, or passes the error on.
  template <class F>
  auto and_then(F&& next) && -> decltype(next(std::declval<T&&>())) {
    if (!has_value()) return std::move(*this).error();
    return std::forward<F>(next)(*std::move(*this));
  }

 private:
  // Neither std::variant nor std::optional: their machinery, instantiated for each T, is a tenth of the time that
  // pare.hpp takes to compile.
  Error error_;
  union {
    T value_;
  };
  bool has_value_ = false;
};

/// Success, or an Error.
template <>
class [[nodiscard]] Result<void> {
 public:
  using value_type = void;

  Result() = default;
  Result(Error error) : failed_(true), error_(std::move(error)) {}

  [[nodiscard]] bool has_value() const noexcept { return !failed_; }
  explicit operator bool() const noexcept { return has_value(); }

  [[nodiscard]] const Error& error() const& noexcept { return error_; }
  [[nodiscard]] Error&& error() && noexcept { return std::move(error_); }

 private:
  bool failed_ = false;
  Error error_;
};

}  // namespace pare
