#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace io {

/// A bar on standard error for work that takes a while; it shows nothing where standard error is not a terminal.
class Progress {
 public:
  /// A bar named `label` for `total` units of work.
  Progress(std::string label, std::uint64_t total);
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  /// Wipes the bar.
  ~Progress();

  /// Reports that `done` of the units are finished. Cheap to call often.
  void update(std::uint64_t done);

 private:
  std::string label_;
  std::uint64_t total_;
  bool terminal_;
  bool drawn_ = false;
  std::chrono::steady_clock::time_point next_;  ///< when it is time to draw again
};

/// The text of a bar: the label, a bar of 30 cells and a percentage. `done` above `total` counts as `total`, and work
/// of no units as done.
std::string progress_text(const std::string& label, std::uint64_t done, std::uint64_t total);

}  // namespace io
