#pragma once

#include <vector>

#include "pare/core/bits.hpp"
