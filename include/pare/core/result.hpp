#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <variant>

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

  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}

  [[nodiscard]] bool has_value() const noexcept { return state_.index() == 0; }
  explicit operator bool() const noexcept { return has_value(); }

  T& operator*() & noexcept { return *std::get_if<0>(&state_); }
  const T& operator*() const& noexcept { return *std::get_if<0>(&state_); }
  T&& operator*() && noexcept { return std::move(*std::get_if<0>(&state_)); }
  T* operator->() noexcept { return std::get_if<0>(&state_); }
  const T* operator->() const noexcept { return std::get_if<0>(&state_); }

  [[nodiscard]] const Error& error() const& noexcept { return *std::get_if<1>(&state_); }
  [[nodiscard]] Error&& error() && noexcept { return std::move(*std::get_if<1>(&state_)); }

  /// Calls `next(value)`, which returns a Result, or passes the error on.
  template <class F>
  auto and_then(F&& next) && -> decltype(next(std::declval<T&&>())) {
    if (!has_value()) return std::move(*this).error();
    return std::forward<F>(next)(*std::move(*this));
  }

 private:
  std::variant<T, Error> state_;
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
