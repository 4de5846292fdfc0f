// A user of Highway who includes it first.
#include <hwy/highway.h>

#include "round_trip.hpp"

std::vector<std::vector<float>> round_trips_of_b() { return round_trips(); }
