#pragma once

/// Layer 2': where codes, scales and zero points sit in memory, and what holds them unpacked.
#include "pare/layouts/awq.hpp"
#include "pare/layouts/coded_matrix.hpp"
#include "pare/layouts/compressed_tensors.hpp"
#include "pare/layouts/gguf/gguf.hpp"
#include "pare/layouts/gpt_oss.hpp"
#include "pare/layouts/gptq.hpp"
#include "pare/layouts/marlin.hpp"
#include "pare/layouts/marlin24.hpp"
#include "pare/layouts/modelopt.hpp"
#include "pare/layouts/packing.hpp"
#include "pare/layouts/parts.hpp"
#include "pare/layouts/sparse_bitmask.hpp"
