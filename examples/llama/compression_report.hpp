#pragma once

#include <cstddef>
#include <filesystem>
#include <string>

#include "llama/commands.hpp"
#include "llama/model_writer.hpp"
#include "llama/weight_files.hpp"

namespace llama {

/// A count of bytes for people, as in "1.5 MB".
std::string bytes_text(std::size_t bytes);

/// A ratio in dB for people; "exact" where it is infinite.
std::string decibels_text(double decibels);

/// What write_model did, as a table of tensors and a line of totals.
std::string compression_text(const WeightFiles& files, const CompressedModel& model,
                             const std::filesystem::path& output);

/// The same for programs.
Report compression_report(const WeightFiles& files, const CompressedModel& model, const std::filesystem::path& output);

}  // namespace llama
