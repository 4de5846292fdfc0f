#include <algorithm>
#include <cstdio>
#include <pare/pare.hpp>

#include "round_trip.hpp"

std::vector<std::vector<float>> round_trips_of_b();

int main() {
  const auto ours = round_trips();
  const bool whole = std::ranges::none_of(ours, [](const auto& values) { return values.empty(); });
  if (whole && ours == round_trips_of_b()) return 0;
  std::puts(whole ? "the two files disagree" : "a round trip failed");
  return 1;
}
