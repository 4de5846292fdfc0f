#pragma once

#include <Eigen/Core>

#include "pare/core/core.hpp"
