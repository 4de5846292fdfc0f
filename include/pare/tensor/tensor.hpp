#pragma once

/// Layer 4: tensors of codes, masks, and the verbs quantize, dequantize and matmul.
#include "pare/tensor/bitmask_matrix.hpp"
#include "pare/tensor/block_csr_matrix.hpp"
#include "pare/tensor/coded.hpp"
#include "pare/tensor/csr_matrix.hpp"
#include "pare/tensor/dequantize.hpp"
#include "pare/tensor/mask.hpp"
#include "pare/tensor/matmul.hpp"
#include "pare/tensor/packed.hpp"
#include "pare/tensor/preparation.hpp"
#include "pare/tensor/prepared.hpp"
#include "pare/tensor/quantize.hpp"
#include "pare/tensor/sparse.hpp"
#include "pare/tensor/sparse24.hpp"
#include "pare/tensor/sparse_storage.hpp"
