#pragma once

/// The blocks that GGUF files hold (ggml's quantized types): descriptions, codes, decoders and encoders.
#include "pare/layouts/gguf/block_codes.hpp"
#include "pare/layouts/gguf/block_layout.hpp"
#include "pare/layouts/gguf/block_type.hpp"
#include "pare/layouts/gguf/codes.hpp"
#include "pare/layouts/gguf/decode.hpp"
#include "pare/layouts/gguf/line_encoders.hpp"
#include "pare/layouts/gguf/matrix.hpp"
#include "pare/layouts/gguf/quantize.hpp"
#include "pare/layouts/gguf/rule_encoders.hpp"
#include "pare/layouts/gguf/searched_encoders.hpp"
