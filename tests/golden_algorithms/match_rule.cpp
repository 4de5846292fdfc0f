#include "match_rule.hpp"

#include <fmt/format.h>

#include <cctype>
#include <cstdlib>
#include <optional>
#include <stdexcept>

namespace golden {
namespace {

/// The number behind `prefix` and perhaps spaces, when what follows it begins with `suffix`.
std::optional<double> number(std::string_view text, std::string_view prefix, std::string_view suffix) {
  for (std::size_t at = text.find(prefix); at != std::string_view::npos; at = text.find(prefix, at + 1)) {
    const std::string rest(text.substr(at + prefix.size()));
    char* end = nullptr;
    const double value = std::strtod(rest.c_str(), &end);
    if (end != rest.c_str() && std::string_view(end).starts_with(suffix)) return value;
  }
  return std::nullopt;
}

bool has(std::string_view text, std::string_view word) { return text.find(word) != std::string_view::npos; }

}  // namespace

MatchRule::MatchRule(std::string_view rule) : rule_(rule) {
  // Commas and semicolons part clauses, but not within parentheses.
  int depth = 0;
  std::string clause;
  for (const char c : rule) {
    depth += c == '(' ? 1 : c == ')' ? -1 : 0;
    if (depth == 0 && c == ';') {
      clauses_.push_back(clause);
      clause.clear();
    } else {
      clause += c;
    }
  }
  clauses_.push_back(clause);
}

std::string_view MatchRule::clause(std::string_view subject) const {
  for (const std::string& clause : clauses_)
    if (has(clause, subject)) return clause;
  if (clauses_.size() == 1) return clauses_.front();
  throw std::runtime_error(fmt::format("the rule \"{}\" says nothing of {}", rule_, subject));
}

double MatchRule::share(std::string_view subject) const {
  std::string_view text = clause(subject);
  // Within a clause about several things, what follows the subject counts first.
  const std::size_t at = text.find(subject);
  for (const std::string_view part : {at == std::string_view::npos ? text : text.substr(at), text})
    for (const std::string_view sign : {">=", "≥"})
      if (const auto percent = number(part, sign, "%")) return *percent / 100;
  if (has(text, "exact")) return 1.0;
  throw std::runtime_error(fmt::format("the rule \"{}\" gives no share of {}", rule_, subject));
}

double MatchRule::relative(std::string_view subject) const {
  std::string_view text = clause(subject);
  const std::size_t at = text.find(subject);
  for (const std::string_view part : {at == std::string_view::npos ? text : text.substr(at), text}) {
    if (const auto value = number(part, "rel ", "")) return *value;
    if (const auto percent = number(part, "within ", "%")) return *percent / 100;
    if (const auto times = number(part, "<= ", "x")) return *times - 1;
    if (const auto ulps = number(part, "<=", " ulp")) return *ulps * 0x1p-23;
  }
  if (has(text, "exact")) return 0.0;
  throw std::runtime_error(fmt::format("the rule \"{}\" gives no tolerance of {}", rule_, subject));
}

double MatchRule::absolute(std::string_view subject) const {
  if (const auto value = number(clause(subject), "abs ", "")) return *value;
  throw std::runtime_error(fmt::format("the rule \"{}\" gives no absolute tolerance of {}", rule_, subject));
}

}  // namespace golden
