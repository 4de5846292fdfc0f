#pragma once

#include <filesystem>

namespace golden {

/// Prints, as the table of docs/algorithms.md, the least reconstruction error of each reference method of fewer than 8
/// bits on each problem of a folder, beside that of pare's recipes of at most 4.5 bits; whether the best of these is
/// below every reference.
bool compare(const std::filesystem::path& folder);

}  // namespace golden
