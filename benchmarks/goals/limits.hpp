#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

/// What a machine does at best, to compare kernels with.
namespace limits {

/// Reads the bytes once, but for less than 64 at the end of each eighth.
void load(std::span<const std::byte> bytes);

/// Writes the bytes once, past the caches where the processor can. `bytes` begins at a multiple of 64.
void store_non_temporal(std::span<std::byte> bytes);

/// True where the processor multiplies bytes in AVX-512 VNNI.
bool has_vnni();

/// Runs its instruction, independently of memory; returns the multiplications and additions that were made.
double multiply_bytes_vnni();

}  // namespace limits
