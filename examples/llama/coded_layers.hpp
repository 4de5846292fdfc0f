#pragma once

#include <cstddef>
#include <vector>

#include "io/gguf.hpp"
#include "io/packed_matrix.hpp"
#include "pare/core/result.hpp"
#include "pare/layouts/layouts.hpp"

namespace llama {

/// The codes of a matrix that pare packed. Error: scales of a type that no layout has.
pare::Result<pare::CodedMatrix> coded_matrix(const io::PackedMatrix& packed);

/// The matrix in pare's own packing, by the first scheme of the catalog that holds it exactly, one with scales of the
/// same type before all others. Error: there is none.
pare::Result<io::PackedParts> pack(const pare::CodedMatrix& matrix);

/// The codes of a GGUF tensor of blocks, rows in the file's order. Error: a tensor of no such type.
pare::Result<pare::CodedMatrix> coded_matrix(const io::GgufTensor& tensor);

/// The blocks of GGUF that hold a matrix exactly.
pare::Result<std::vector<std::byte>> gguf_blocks(io::GgmlType type, const pare::CodedMatrix& matrix);

/// The matrix whose row r is row sources[r] of `matrix`, each of which has scales of its own.
pare::Result<pare::CodedMatrix> with_rows(const pare::CodedMatrix& matrix, const std::vector<std::size_t>& sources);

}  // namespace llama
