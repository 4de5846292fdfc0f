// Verifies every file of a folder of golden formats and prints how many vectors of each family agree.
//
//   golden_formats [FOLDER]
//
// FOLDER, or else the environment's PARE_GOLDEN_FORMATS, must hold every file there is a check for; a file without a
// check fails. Without either it takes the repository's compact subset and, where it is present, the full set.
#include "runner.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <exception>
#include <set>

#include "families.hpp"

namespace golden {

void Report::check(std::string_view what, bool good, std::string_view detail) {
  ++vectors_;
  if (!good) faults_.push_back(fmt::format("{}: {}", what, detail));
}

std::optional<Vectors> Vectors::open(const std::filesystem::path& path, Report& report) {
  auto file = io::SafetensorsFile::open(path);
  if (file) return Vectors(std::move(*file), report);
  report.check("file", false, file.error().message);
  return std::nullopt;
}

std::vector<std::size_t> Vectors::shape(std::string_view name) const {
  const io::TensorView* tensor = file_.find(name);
  if (tensor == nullptr) return {};
  return {tensor->shape.begin(), tensor->shape.end()};
}

std::string Vectors::metadata(const std::string& key) const {
  const auto found = file_.metadata().find(key);
  return found == file_.metadata().end() ? std::string{} : found->second;
}

std::span<const std::uint8_t> Vectors::elements(std::string_view name, std::size_t bytes) const {
  const io::TensorView* tensor = file_.find(name);
  if (tensor == nullptr) {
    report_->check(name, false, "is missing");
    return {};
  }
  if (io::bits(tensor->dtype) != bytes * 8) {
    report_->check(name, false, fmt::format("has elements of {} bits, not {}", io::bits(tensor->dtype), bytes * 8));
    return {};
  }
  return {reinterpret_cast<const std::uint8_t*>(tensor->bytes.data()), tensor->bytes.size()};
}

}  // namespace golden

namespace {
namespace fs = std::filesystem;

/// The files of a folder that hold vectors, relative to it.
std::set<std::string> files_of(const fs::path& folder) {
  std::set<std::string> files;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    const std::string path = entry.path().lexically_relative(folder).generic_string();
    if (entry.is_regular_file() && path != "INDEX.json" && path != "README.md") files.insert(path);
  }
  return files;
}

/// What agreed in one family, or in all of them.
struct Tally {
  std::size_t files = 0;
  std::size_t vectors = 0;
  std::size_t matched = 0;
};

golden::Report run(const golden::Check& check, const fs::path& file) {
  golden::Report report;
  try {
    check.run(file, report);
  } catch (const std::exception& error) {
    report.check("check", false, error.what());
  }
  if (report.vectors() == 0) report.check("check", false, "compared nothing");
  return report;
}

/// Verifies one folder; whether everything agreed.
bool verify(const fs::path& folder, bool complete) {
  fmt::print("{}\n", folder.string());
  std::set<std::string> unchecked = files_of(folder);
  std::vector<std::string> faults;
  Tally total;
  for (const golden::Family& family : golden::families) {
    Tally tally;
    for (const golden::Check& check : family.checks()) {
      const std::string path(check.path);
      if (unchecked.erase(path) == 0) {
        if (complete) faults.push_back(path + ": is missing");
        continue;
      }
      const golden::Report report = run(check, folder / path);
      ++tally.files;
      tally.vectors += report.vectors();
      tally.matched += report.vectors() - report.faults().size();
      for (const std::string& fault : report.faults()) faults.push_back(path + ": " + fault);
    }
    fmt::print("  {:20} {:4} files {:6} of {:6} vectors match\n", family.name, tally.files, tally.matched,
               tally.vectors);
    total.files += tally.files;
    total.vectors += tally.vectors;
    total.matched += tally.matched;
  }
  for (const std::string& path : unchecked) faults.push_back(path + ": there is no check for it");
  fmt::print("  {:20} {:4} files {:6} of {:6} vectors match\n", "all", total.files, total.matched, total.vectors);
  for (const std::string& fault : faults) fmt::print("  FAULT {}\n", fault);
  return faults.empty() && total.files > 0;
}

}  // namespace

int main(int argc, char** argv) {
  const char* wanted = argc > 1 ? argv[1] : std::getenv("PARE_GOLDEN_FORMATS");
  try {
    if (wanted != nullptr && *wanted != '\0') return verify(wanted, true) ? 0 : 1;
    bool good = verify(fs::path(PARE_TEST_DIR) / "golden/formats", false);
    const fs::path full = fs::path(PARE_SHARED_DIR) / "golden/formats";
    if (!std::string_view(PARE_SHARED_DIR).empty() && fs::exists(full)) good = verify(full, true) && good;
    return good ? 0 : 1;
  } catch (const std::exception& error) {
    fmt::print(stderr, "golden_formats: {}\n", error.what());
    return 1;
  }
}
