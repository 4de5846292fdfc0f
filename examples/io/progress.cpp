#include "io/progress.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdio>
#include <utility>

namespace io {

std::string progress_text(const std::string& label, std::uint64_t done, std::uint64_t total) {
  constexpr std::size_t cells = 30;
  const double share = done >= total ? 1.0 : static_cast<double>(done) / static_cast<double>(total);
  const auto filled = static_cast<std::size_t>(share * cells);
  return fmt::format("{} [{:#<{}}{:.<{}}] {:3}%", label, "", filled, "", cells - filled, static_cast<int>(share * 100));
}

Progress::Progress(std::string label, std::uint64_t total)
    : label_(std::move(label)), total_(total), terminal_(::isatty(STDERR_FILENO) == 1) {}

Progress::~Progress() {
  if (drawn_) std::fputs("\r\x1b[K", stderr);
}

void Progress::update(std::uint64_t done) {
  const auto now = std::chrono::steady_clock::now();
  if (!terminal_ || now < next_) return;
  next_ = now + std::chrono::milliseconds(100);
  std::fputs(("\r\x1b[K" + progress_text(label_, done, total_)).c_str(), stderr);
  std::fflush(stderr);
  drawn_ = true;
}

}  // namespace io
