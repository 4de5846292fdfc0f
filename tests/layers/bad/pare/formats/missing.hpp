#pragma once

#include "pare/core/nowhere.hpp"
