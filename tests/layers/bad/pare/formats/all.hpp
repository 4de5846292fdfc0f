#pragma once

#include "pare/pare.hpp"
