#pragma once

/// Everything in pare: quantization and pruning of neural-network weights, and the kernels that read the result.
#include "pare/calibration/calibration.hpp"
#include "pare/core/core.hpp"
#include "pare/formats/formats.hpp"
#include "pare/kernels/kernels.hpp"
#include "pare/layouts/layouts.hpp"
#include "pare/metrics/metrics.hpp"
#include "pare/prune/prune.hpp"
#include "pare/quantize/quantize.hpp"
#include "pare/schemes/schemes.hpp"
#include "pare/search/search.hpp"
#include "pare/tensor/tensor.hpp"
