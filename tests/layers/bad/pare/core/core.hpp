#pragma once

#include "pare/formats/formats.hpp"
