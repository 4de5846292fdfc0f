#pragma once

/// Highway's operations for every compiled target, once per translation unit, and what the kernels' dispatch needs.
///
/// Highway's own foreach_target.h works once per translation unit and from source files only. Here hwy/highway.h itself
/// is read once per target; kernel headers are then re-included per target with nothing but Highway's macros set anew.
/// A program may include Highway before pare. A source file that is its own HWY_TARGET_INCLUDE includes pare under
/// `#if HWY_ONCE`.

// Highway 1.0.3 compiles AVX3_DL with the attribute avxvnni but selects it by AVX512_VNNI: its code would fault on
// processors that have the one and not the other. The kernels use vectors of a fixed size, so that processors with SVE
// or RVV take the next best target.
#ifndef HWY_DISABLED_TARGETS
#define HWY_DISABLED_TARGETS (HWY_AVX3_DL | HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV)
#endif
#if defined(PARE_STATIC_DISPATCH) && !defined(HWY_COMPILE_ONLY_STATIC)
#define HWY_COMPILE_ONLY_STATIC
#endif
// pare needs neither AES nor PCLMUL; requiring them would make -march=haswell and x86-64-v3 static SSSE3.
#ifndef HWY_DISABLE_PCLMUL_AES
#define HWY_DISABLE_PCLMUL_AES
#endif

// Where AMX can be asked for.
#if defined(__x86_64__) && defined(__linux__)
#define PARE_AMX_SYSTEM 1
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#else
#define PARE_AMX_SYSTEM 0
#endif

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "hwy/cache_control.h"
#include "hwy/detect_targets.h"

#if defined(HIGHWAY_HWY_FOREACH_TARGET_H_)
#if !HWY_ONCE
#error "pare: in a file that is its own HWY_TARGET_INCLUDE, include pare under #if HWY_ONCE"
#endif
#else
#ifdef HWY_HIGHWAY_INCLUDED
#define PARE_STATIC_TARGET_DONE
#endif
#define PARE_TARGET_INCLUDE "pare/kernels/highway/once.hpp"
#include "pare/kernels/highway/foreach.hpp"
#undef HWY_ONCE
#define HWY_ONCE 1
#endif
#include "hwy/ops/set_macros-inl.h"

// An inline namespace named after what this translation unit compiles for keeps functions built with different flags
// apart when the linker merges equal symbols.
#if HWY_STATIC_TARGET == HWY_SCALAR
#define PARE_ABI_BASE scalar
#elif HWY_STATIC_TARGET == HWY_EMU128
#define PARE_ABI_BASE emu128
#elif defined(HWY_SSE2) && HWY_STATIC_TARGET == HWY_SSE2
#define PARE_ABI_BASE sse2
#elif HWY_STATIC_TARGET == HWY_SSSE3
#define PARE_ABI_BASE ssse3
#elif HWY_STATIC_TARGET == HWY_SSE4
#define PARE_ABI_BASE sse4
#elif HWY_STATIC_TARGET == HWY_AVX2
#define PARE_ABI_BASE avx2
#elif HWY_STATIC_TARGET == HWY_AVX3 && defined(__AVX512VNNI__) && defined(__AVX512VBMI__)
#define PARE_ABI_BASE avx3_vnni
#elif HWY_STATIC_TARGET == HWY_AVX3
#define PARE_ABI_BASE avx3
#elif HWY_STATIC_TARGET == HWY_AVX3_DL
#define PARE_ABI_BASE avx3_dl
#elif HWY_STATIC_TARGET == HWY_NEON
#define PARE_ABI_BASE neon
#else
#define PARE_ABI_BASE other
#endif
#if HWY_TARGETS == HWY_STATIC_TARGET
#define PARE_ABI_MODE one
#elif HWY_TARGETS & (HWY_AVX3_DL | HWY_SVE | HWY_RVV)
#define PARE_ABI_MODE all  // the program chose Highway's targets before pare
#else
#define PARE_ABI_MODE many
#endif
#define PARE_ABI_JOIN_(mode, base) mode##_##base
#define PARE_ABI_JOIN(mode, base) PARE_ABI_JOIN_(mode, base)
#define PARE_ABI PARE_ABI_JOIN(PARE_ABI_MODE, PARE_ABI_BASE)

// The addresses of one kernel on every target; the name may not hold a bare comma.
#if HWY_TARGETS == HWY_STATIC_TARGET
#define PARE_TARGET_TABLE(KERNEL) {&HWY_STATIC_DISPATCH(KERNEL)}
#else
#define PARE_TARGET_TABLE(KERNEL) {nullptr, HWY_CHOOSE_TARGET_LIST(KERNEL), HWY_CHOOSE_FALLBACK(KERNEL)}
#endif

namespace pare {
inline namespace PARE_ABI {

/// What is known of an extension that is no target of Highway's; asking for it takes microseconds.
enum class Extension : std::uint8_t { unknown, absent, present };

#if HWY_ARCH_X86 && HWY_TARGETS != HWY_STATIC_TARGET
/// Whether kernels may use AVX-512 VNNI and VBMI.
inline std::atomic<Extension>& known_vnni() noexcept {
  static std::atomic<Extension> state{Extension::unknown};
  return state;
}
/// Highway sets the bit of its target AVX3_DL where the processor has both, whether the target is compiled or not.
inline Extension learn_vnni(std::int64_t targets) noexcept {
  const Extension state = (targets & HWY_AVX3_DL) != 0 ? Extension::present : Extension::absent;
  known_vnni().store(state, std::memory_order_relaxed);
  return state;
}
#endif

#if PARE_AMX_SYSTEM
/// Whether kernels may use AMX for bytes.
inline std::atomic<Extension>& known_amx() noexcept {
  static std::atomic<Extension> state{Extension::unknown};
  return state;
}
/// Linux gives the tiles' registers to processes that ask for them, once and for all threads.
inline Extension learn_amx() noexcept {
  constexpr unsigned tile_and_int8 = 3u << 24;
  constexpr long request_permission = 0x1023, tile_data = 18;
  unsigned a = 0, b = 0, c = 0, d = 0;
  bool granted = __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 && (d & tile_and_int8) == tile_and_int8;
#if HWY_TARGETS != HWY_STATIC_TARGET
  // Every processor that has AMX has AVX2: a test that chooses targets without it leaves AMX out.
  granted = granted && (hwy::SupportedTargets() & HWY_AVX2) != 0;
#endif
  granted = granted && syscall(SYS_arch_prctl, request_permission, tile_data) == 0;
  const Extension state = granted ? Extension::present : Extension::absent;
  known_amx().store(state, std::memory_order_relaxed);
  return state;
}
#endif

/// The position in a PARE_TARGET_TABLE of the best target that this processor has.
inline std::size_t target_index() noexcept {
#if HWY_TARGETS == HWY_STATIC_TARGET
  return 0;
#else
  hwy::ChosenTarget& chosen = hwy::GetChosenTarget();
  if (HWY_UNLIKELY(!chosen.IsInitialized())) {
    const std::int64_t targets = hwy::SupportedTargets();
#if HWY_ARCH_X86
    learn_vnni(targets);
#if PARE_AMX_SYSTEM
    known_amx().store(Extension::unknown, std::memory_order_relaxed);
#endif
#endif
    chosen.Update(targets);
  }
  return chosen.GetIndex();
#endif
}

/// Whether kernels of the target AVX3 may use AVX-512 VNNI and VBMI, which are no target of their own.
inline bool has_vnni() noexcept {
#if HWY_ARCH_X86 && HWY_TARGETS != HWY_STATIC_TARGET
  const Extension state = known_vnni().load(std::memory_order_relaxed);
  return (state == Extension::unknown ? learn_vnni(hwy::SupportedTargets()) : state) == Extension::present;
#elif defined(__AVX512VNNI__) && defined(__AVX512VBMI__)
  return true;
#else
  return false;
#endif
}

/// Whether kernels may use AMX for bytes. The first call asks the operating system for it.
inline bool has_amx() noexcept {
#if PARE_AMX_SYSTEM
  const Extension state = known_amx().load(std::memory_order_relaxed);
  return (state == Extension::unknown ? learn_amx() : state) == Extension::present;
#else
  return false;
#endif
}

}  // namespace PARE_ABI
}  // namespace pare
