#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <string>
#include <vector>

#include "families.hpp"
#include "pruning.hpp"

namespace golden {
namespace {

using Numbers = std::vector<double>;

/// The figures that an entry holds under names, and what came of comparing them.
class Figures {
 public:
  Figures(const Entry& entry, Outcome& outcome) : entry_(&entry), outcome_(&outcome) {}

  [[nodiscard]] Numbers operator[](const std::string& name) const { return entry_->json.at(name).get<Numbers>(); }
  [[nodiscard]] double parameter(const char* name) const { return entry_->json.at("params").at(name).get<double>(); }

  /// Each figure must be as near as the rule says.
  void compare(const std::string& name, const Numbers& found) {
    const Numbers expected = (*this)[name];
    const double tolerance = entry_->rule.absolute(name);
    double worst = 0.0;
    for (std::size_t i = 0; i < std::min(expected.size(), found.size()); ++i) {
      const double difference = std::fabs(expected[i] - found[i]);
      if (!(difference <= worst)) worst = difference;
    }
    outcome_->check(name, expected.size() == found.size() && !expected.empty() && worst <= tolerance,
                    std::to_string(worst) + " apart");
  }
  /// The same for the values of a schedule at 0, 1 / parts, 2 / parts, ...
  template <class Schedule>
  void compare(const std::string& name, const Schedule& schedule, double parts) {
    Numbers found;
    for (std::size_t i = 0; i < (*this)[name].size(); ++i) found.push_back(schedule(static_cast<double>(i) / parts));
    compare(name, found);
  }

 private:
  const Entry* entry_;
  Outcome* outcome_;
};

/// How many of the figures by steps make one epoch: those by epochs pick every so many of them.
double steps_per_epoch(const Numbers& epochs, const Numbers& steps) {
  for (std::size_t each = 1; each < steps.size(); ++each) {
    bool fits = true;
    for (std::size_t e = 0; e < epochs.size() && e * each < steps.size(); ++e)
      fits = fits && std::fabs(epochs[e] - steps[e * each]) < 1e-12;
    if (fits) return static_cast<double>(each);
  }
  throw std::runtime_error("the figures by steps are none by epochs");
}

void check_polynomial(Figures& figures, const std::string& name, double initial, double final, double epochs) {
  const std::string prefix = "nncf_polynomial_p";
  const pare::PolynomialSchedule schedule{.initial = initial,
                                          .final = final,
                                          .duration = epochs,
                                          .power = std::stod(name.substr(prefix.size())),
                                          .concave = name.find("concave") != std::string::npos};
  figures.compare(name, schedule, 1.0);
  figures.compare(name + "_step", schedule, steps_per_epoch(figures[name], figures[name + "_step"]));
}

void check_schedules(const Entry& entry, const Problem&, Outcome& outcome) {
  Figures figures(entry, outcome);
  const double initial = figures.parameter("si"), final = figures.parameter("sf");
  const double epochs = entry.number("target_epoch");

  const pare::CubicSchedule cubic{.initial = initial,
                                  .final = final,
                                  .begin = figures.parameter("t0"),
                                  .duration = figures.parameter("n") * figures.parameter("dt")};
  Numbers gradual;
  for (const double step : figures["zhu_gupta_steps"]) gradual.push_back(cubic(step));
  figures.compare("zhu_gupta", gradual);

  const double end = figures.parameter("rigl_Tend");
  figures.compare("rigl_cosine", pare::CosineSchedule{.initial = figures.parameter("rigl_alpha"), .end = end},
                  static_cast<double>(figures["rigl_cosine"].size() - 1) / end);
  figures.compare("nncf_exponential", pare::ExponentialSchedule{initial, final, epochs}, 1.0);
  for (const auto& item : entry.json.items())
    if (item.key().starts_with("nncf_polynomial_p") && !item.key().ends_with("_step"))
      check_polynomial(figures, item.key(), initial, final, epochs);

  const auto biased = value(pare::BiasedExponentialSchedule::create(initial, final, epochs));
  figures.compare("nncf_exp_with_bias", biased, 1.0);
  figures.compare("nncf_exp_with_bias_abk", {biased.scale(), biased.bias(), biased.rate()});

  const auto dimensions = entry.json.at("erk_shapes").get<std::vector<std::vector<std::size_t>>>();
  const std::vector<std::span<const std::size_t>> shapes(dimensions.begin(), dimensions.end());
  const auto erk = value(pare::erdos_renyi_sparsities(shapes, entry.number("erk_S")));
  figures.compare("erk_sparsity", {erk.begin(), erk.end()});
}

constexpr Method methods[] = {{"schedules", check_schedules}};

}  // namespace

std::span<const Method> schedules_methods() { return methods; }

}  // namespace golden
