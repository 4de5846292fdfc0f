#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace pare::gguf {

/// The block types of GGUF files that pare reads and writes, by ggml's numbers.
enum class BlockType : std::uint32_t {
  q4_0 = 2,
  q4_1 = 3,
  q5_0 = 6,
  q5_1 = 7,
  q8_0 = 8,
  q2_k = 10,
  q3_k = 11,
  q4_k = 12,
  q5_k = 13,
  q6_k = 14,
  iq4_nl = 20,
  iq4_xs = 23,
  tq1_0 = 34,
  tq2_0 = 35,
  mxfp4 = 39,
  nvfp4 = 40,
  q1_0 = 41,
  q2_0 = 42,
};

/// One row of the table of block types: `elements` consecutive values of a row take `bytes` bytes.
struct BlockInfo {
  BlockType type;
  std::string_view name;
  std::size_t elements;
  std::size_t bytes;
};

/// Every block type, by ascending number.
inline constexpr std::array<BlockInfo, 18> block_types{{
    {BlockType::q4_0, "q4_0", 32, 18},
    {BlockType::q4_1, "q4_1", 32, 20},
    {BlockType::q5_0, "q5_0", 32, 22},
    {BlockType::q5_1, "q5_1", 32, 24},
    {BlockType::q8_0, "q8_0", 32, 34},
    {BlockType::q2_k, "q2_K", 256, 84},
    {BlockType::q3_k, "q3_K", 256, 110},
    {BlockType::q4_k, "q4_K", 256, 144},
    {BlockType::q5_k, "q5_K", 256, 176},
    {BlockType::q6_k, "q6_K", 256, 210},
    {BlockType::iq4_nl, "iq4_nl", 32, 18},
    {BlockType::iq4_xs, "iq4_xs", 256, 136},
    {BlockType::tq1_0, "tq1_0", 256, 54},
    {BlockType::tq2_0, "tq2_0", 256, 66},
    {BlockType::mxfp4, "mxfp4", 32, 17},
    {BlockType::nvfp4, "nvfp4", 64, 36},
    {BlockType::q1_0, "q1_0", 128, 18},
    {BlockType::q2_0, "q2_0", 64, 18},
}};

/// The largest number of elements of a block, and of sub-blocks with a scale of their own.
inline constexpr std::size_t max_block_elements = 256;
inline constexpr std::size_t max_sub_blocks = 16;

/// The row of the type with this ggml number, or nullptr.
constexpr const BlockInfo* find_block_type(std::uint32_t number) noexcept {
  for (const BlockInfo& row : block_types)
    if (static_cast<std::uint32_t>(row.type) == number) return &row;
  return nullptr;
}

/// The row of the type with this name, such as "q4_K", or nullptr.
constexpr const BlockInfo* find_block_type(std::string_view name) noexcept {
  for (const BlockInfo& row : block_types)
    if (row.name == name) return &row;
  return nullptr;
}

/// The row of a type.
template <BlockType T>
inline constexpr const BlockInfo& block_info = *find_block_type(static_cast<std::uint32_t>(T));

}  // namespace pare::gguf
