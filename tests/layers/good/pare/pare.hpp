#pragma once

#include "pare/core/core.hpp"
#include "pare/formats/formats.hpp"
