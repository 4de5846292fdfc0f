#pragma once

#include <cstdio>
#include <cstdlib>
#include <string>
#include <utility>

#include "pare/core/result.hpp"

/// Ends the program with a message.
[[noreturn]] inline void fail(const std::string& what) {
  std::fprintf(stderr, "%s\n", what.c_str());
  std::exit(1);
}

/// The value of a result; ends the program where there is none.
template <class T>
T value(pare::Result<T> result) {
  if (!result) fail(result.error().message);
  return *std::move(result);
}

/// Ends the program where a result is an error.
inline void expect(const pare::Result<void>& result) {
  if (!result) fail(result.error().message);
}
