#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>

#include "io/progress.hpp"

namespace llama {

/// An io::ProgressCallback that draws a bar from its first call to its end.
class ProgressBar {
 public:
  explicit ProgressBar(std::string label) : label_(std::move(label)) {}

  void operator()(std::uint64_t done, std::uint64_t total) {
    if (!bar_) bar_.emplace(label_, total);
    bar_->update(done);
  }

 private:
  std::string label_;
  std::optional<io::Progress> bar_;
};

}  // namespace llama
