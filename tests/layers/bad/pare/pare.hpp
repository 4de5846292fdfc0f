#pragma once

#include "pare/core/core.hpp"
