#pragma once

#include "pare/quantize/quantize.hpp"
