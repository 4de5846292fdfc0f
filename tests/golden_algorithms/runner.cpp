// Recomputes every entry of a folder of golden algorithms and prints how near ours came.
//
//   golden_algorithms [FOLDER [METHOD]]
//   golden_algorithms --compare [FOLDER]
//
// FOLDER, or else the environment's PARE_GOLDEN_ALGORITHMS, holds results.json, problems/ and the outputs. Without
// either it takes the repository's compact subset and, where it is present, the full set. With --compare it prints the
// errors of pare's own recipes beside those of the references.
#include "runner.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <exception>
#include <fstream>

#include "comparison.hpp"
#include "families.hpp"

namespace golden {

void Outcome::check(std::string_view what, bool good, std::string_view detail) {
  ++checks_;
  if (!good) faults_.push_back(fmt::format("{}: {}", what, detail));
}

void Outcome::share(std::string_view subject, std::size_t equal, std::size_t expected, std::size_t found) {
  const double needed = entry_->rule.share(subject);
  check(
      subject,
      expected == found && expected > 0 && static_cast<double>(equal) >= needed * static_cast<double>(expected),
      fmt::format("{} of {} equal ({} computed), at least {:.2f} % are needed", equal, expected, found, 100 * needed));
}

void Outcome::near(std::string_view subject, const std::vector<float>& expected, const std::vector<float>& found,
                   bool of_largest) {
  const double tolerance = entry_->rule.relative(subject);
  double largest = 0.0, worst = 0.0;
  for (const float x : expected) largest = std::max(largest, std::fabs(static_cast<double>(x)));
  std::size_t place = 0;
  for (std::size_t i = 0; i < std::min(expected.size(), found.size()); ++i) {
    const double x = static_cast<double>(expected[i]), y = static_cast<double>(found[i]);
    const double unit = of_largest ? largest : std::fabs(x);
    const double difference = x == y ? 0.0 : unit > 0 ? std::fabs(x - y) / unit : INFINITY;
    if (!(difference <= worst)) {
      worst = difference;
      place = i;
    }
  }
  check(subject, expected.size() == found.size() && !expected.empty() && worst <= tolerance,
        fmt::format(
            "{} numbers where there should be {}, at worst {:.3g} apart (number {}: {} for {}), {:.3g} is allowed",
            found.size(), expected.size(), worst, place, found.empty() ? 0.0f : found[place],
            expected.empty() ? 0.0f : expected[place], tolerance));
}

void Outcome::error(double ours) {
  error_ = ours;
  const double reference = entry_->number("rel_err"), tolerance = entry_->rule.relative("rel_err");
  check("rel_err", ours <= reference * (1 + tolerance),
        fmt::format("{:.6g} where the reference has {:.6g} and {:.3g} more is allowed", ours, reference, tolerance));
}

}  // namespace golden

namespace {
namespace fs = std::filesystem;

const golden::Method* find_method(std::string_view name) {
  for (const auto family : golden::families)
    for (const golden::Method& method : family())
      if (method.name == name) return &method;
  return nullptr;
}

golden::Entry read_entry(const nlohmann::json& json, const fs::path& folder) {
  golden::Entry entry;
  entry.problem = json.at("problem").get<std::string>();
  entry.method = json.at("method").get<std::string>();
  entry.file = json.at("file").get<std::string>();
  entry.config = json.at("config");
  entry.json = json;
  entry.folder = folder;
  entry.rule = golden::MatchRule(json.at("match").get<std::string>());
  return entry;
}

std::string text(const nlohmann::json& number) {
  return number.is_number() ? fmt::format("{:.5f}", number.get<double>()) : "-";
}

/// Recomputes the entries of one folder; whether all of them agreed.
bool verify(const fs::path& folder, std::string_view only) {
  fmt::print("{}\n", folder.string());
  std::ifstream file(folder / "results.json");
  if (!file) {
    fmt::print("  FAULT {}: cannot be read\n", (folder / "results.json").string());
    return false;
  }
  std::map<std::string, golden::Problem> problems{{"misc", {}}};
  std::size_t good = 0, bad = 0, pending = 0;
  fmt::print("  {:28} {:14} {:44} {:>10} {:>10}  {}\n", "method", "problem", "configuration", "reference", "ours",
             "verdict");
  for (const nlohmann::json& json : nlohmann::json::parse(file)) {
    const golden::Entry entry = read_entry(json, folder);
    if (!only.empty() && entry.method != only) continue;
    golden::Outcome outcome(entry);
    const golden::Method* method = find_method(entry.method);
    const bool waits =
        method == nullptr && std::ranges::find(golden::pending_methods, entry.method) != golden::pending_methods.end();
    if (method != nullptr) {
      try {
        if (!problems.contains(entry.problem))
          problems[entry.problem] = golden::Problem::open(folder / "problems" / (entry.problem + ".safetensors"));
        method->run(entry, problems.at(entry.problem), outcome);
        if (outcome.checks() == 0) outcome.check("check", false, "compared nothing");
      } catch (const std::exception& error) {
        outcome.check("check", false, error.what());
      }
    } else if (!waits) {
      outcome.check("method", false, "there is no check for it");
    }
    const bool agrees = outcome.faults().empty();
    (waits ? pending : agrees ? good : bad) += 1;
    std::string config;
    for (const auto& [key, item] : entry.config.items()) config += fmt::format("{}={} ", key, item.dump());
    fmt::print("  {:28} {:14} {:44} {:>10} {:>10}  {}\n", entry.method, entry.problem, config,
               text(json.value("rel_err", nlohmann::json())),
               outcome.our_error() ? fmt::format("{:.5f}", *outcome.our_error()) : "-",
               waits    ? "pending"
               : agrees ? "agrees"
                        : "DIFFERS");
    for (const std::string& fault : outcome.faults()) fmt::print("    FAULT {}\n", fault);
  }
  fmt::print("  {} entries agree, {} differ, {} are pending\n", good, bad, pending);
  return bad == 0 && good > 0;
}

}  // namespace

int main(int argc, char** argv) {
  const char* wanted = argc > 1 ? argv[1] : std::getenv("PARE_GOLDEN_ALGORITHMS");
  const std::string_view only = argc > 2 ? argv[2] : "";
  const fs::path bundled = fs::path(PARE_TEST_DIR) / "golden/algorithms";
  const fs::path full = fs::path(PARE_SHARED_DIR) / "golden/algorithms";
  const bool shared = !std::string_view(PARE_SHARED_DIR).empty() && fs::exists(full);
  try {
    if (argc > 1 && std::string_view(argv[1]) == "--compare")
      return golden::compare(argc > 2 ? fs::path(argv[2]) : shared ? full : bundled) ? 0 : 1;
    if (wanted != nullptr && *wanted != '\0') return verify(wanted, only) ? 0 : 1;
    bool good = verify(bundled, only);
    if (shared) good = verify(full, only) && good;
    return good ? 0 : 1;
  } catch (const std::exception& error) {
    fmt::print(stderr, "golden_algorithms: {}\n", error.what());
    return 1;
  }
}
