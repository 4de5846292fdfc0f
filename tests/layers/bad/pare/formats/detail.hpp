#pragma once

#include "pare/core/eigen.hpp"
