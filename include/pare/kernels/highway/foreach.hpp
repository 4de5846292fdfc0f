// No include guard: re-includes PARE_TARGET_INCLUDE once per compiled target, the static one last.
#ifndef PARE_TARGET_INCLUDE
#error "pare: define PARE_TARGET_INCLUDE before including this file"
#endif
#if defined(HWY_EMU128) && (HWY_TARGETS & HWY_EMU128) && (HWY_STATIC_TARGET != HWY_EMU128)
#undef HWY_TARGET
#define HWY_TARGET HWY_EMU128
#include "hwy/ops/set_macros-inl.h"
#include PARE_TARGET_INCLUDE
#endif
#if defined(HWY_SCALAR) && (HWY_TARGETS & HWY_SCALAR) && (HWY_STATIC_TARGET != HWY_SCALAR)
#undef HWY_TARGET
#define HWY_TARGET HWY_SCALAR
#include "hwy/ops/set_macros-inl.h"
#include PARE_TARGET_INCLUDE
#endif
#if defined(HWY_NEON_WITHOUT_AES) && (HWY_TARGETS & HWY_NEON_WITHOUT_AES) && (HWY_STATIC_TARGET != HWY_NEON_WITHOUT_AES)
#undef HWY_TARGET
#define HWY_TARGET HWY_NEON_WITHOUT_AES
#include "hwy/ops/set_macros-inl.h"
#include PARE_TARGET_INCLUDE
#endif
#if defined(HWY_NEON) && (HWY_TARGETS & HWY_NEON) && (HWY_STATIC_TARGET != HWY_NEON)
#undef HWY_TARGET
#define HWY_TARGET HWY_NEON
#include "hwy/ops/set_macros-inl.h"
#include PARE_TARGET_INCLUDE
#endif
#if defined(HWY_NEON_BF16) && (HWY_TARGETS & HWY_NEON_BF16) && (HWY_STATIC_TARGET != HWY_NEON_BF16)
#undef HWY_TARGET
#define HWY_TARGET HWY_NEON_BF16
#include "hwy/ops/set_macros-inl.h"
#include PARE_TARGET_INCLUDE
#endif
#if defined(HWY_WASM_EMU256) && (HWY_TARGETS & HWY_WASM_EMU256) && (HWY_STATIC_TARGET != HWY_WASM_EMU256)
#undef HWY_TARGET
#define HWY_TARGET HWY_WASM_EMU256
#include "hwy/ops/set_macros-inl.h"
#include PARE_TARGET_INCLUDE
#endif
#if defined(HWY_WASM) && (HWY_TARGETS & HWY_WASM) && (HWY_STATIC_TARGET != HWY_WASM)
#undef HWY_TARGET
#define HWY_TARGET HWY_WASM
#include "hwy/ops/set_macros-inl.h"
#include PARE_TARGET_INCLUDE
#endif
#if defined(HWY_PPC8) && (HWY_TARGETS & HWY_PPC8) && (HWY_STATIC_TARGET != HWY_PPC8)
#undef HWY_TARGET
#define HWY_TARGET HWY_PPC8
#include "hwy/ops/set_macros-inl.h"
#include PARE_TARGET_INCLUDE
#endif
#if defined(HWY_PPC9) && (HWY_TARGETS & HWY_PPC9) && (HWY_STATIC_TARGET != HWY_PPC9)
#undef HWY_TARGET
#define HWY_TARGET HWY_PPC9
#include "hwy/ops/set_macros-inl.h"
#include PARE_TARGET_INCLUDE
#endif
#if defined(HWY_PPC10) && (HWY_TARGETS & HWY_PPC10) && (HWY_STATIC_TARGET != HWY_PPC10)
#undef HWY_TARGET
#define HWY_TARGET HWY_PPC10
#include "hwy/ops/set_macros-inl.h"
#include PARE_TARGET_INCLUDE
#endif
#if defined(HWY_Z14) && (HWY_TARGETS & HWY_Z14) && (HWY_STATIC_TARGET != HWY_Z14)
#undef HWY_TARGET
#define HWY_TARGET HWY_Z14
#include "hwy/ops/set_macros-inl.h"
#include PARE_TARGET_INCLUDE
#endif
#if defined(HWY_Z15) && (HWY_TARGETS & HWY_Z15) && (HWY_STATIC_TARGET != HWY_Z15)
#undef HWY_TARGET
#define HWY_TARGET HWY_Z15
#include "hwy/ops/set_macros-inl.h"
#include PARE_TARGET_INCLUDE
#endif
#if defined(HWY_LSX) && (HWY_TARGETS & HWY_LSX) && (HWY_STATIC_TARGET != HWY_LSX)
#undef HWY_TARGET
#define HWY_TARGET HWY_LSX
#include "hwy/ops/set_macros-inl.h"
#include PARE_TARGET_INCLUDE
#endif
#if defined(HWY_LASX) && (HWY_TARGETS & HWY_LASX) && (HWY_STATIC_TARGET != HWY_LASX)
#undef HWY_TARGET
#define HWY_TARGET HWY_LASX
#include "hwy/ops/set_macros-inl.h"
#include PARE_TARGET_INCLUDE
#endif
#if defined(HWY_SSE2) && (HWY_TARGETS & HWY_SSE2) && (HWY_STATIC_TARGET != HWY_SSE2)
#undef HWY_TARGET
#define HWY_TARGET HWY_SSE2
#include "hwy/ops/set_macros-inl.h"
#include PARE_TARGET_INCLUDE
#endif
#if defined(HWY_SSSE3) && (HWY_TARGETS & HWY_SSSE3) && (HWY_STATIC_TARGET != HWY_SSSE3)
#undef HWY_TARGET
#define HWY_TARGET HWY_SSSE3
#include "hwy/ops/set_macros-inl.h"
#include PARE_TARGET_INCLUDE
#endif
#if defined(HWY_SSE4) && (HWY_TARGETS & HWY_SSE4) && (HWY_STATIC_TARGET != HWY_SSE4)
#undef HWY_TARGET
#define HWY_TARGET HWY_SSE4
#include "hwy/ops/set_macros-inl.h"
#include PARE_TARGET_INCLUDE
#endif
#if defined(HWY_AVX2) && (HWY_TARGETS & HWY_AVX2) && (HWY_STATIC_TARGET != HWY_AVX2)
#undef HWY_TARGET
#define HWY_TARGET HWY_AVX2
#include "hwy/ops/set_macros-inl.h"
#include PARE_TARGET_INCLUDE
#endif
#if defined(HWY_AVX3) && (HWY_TARGETS & HWY_AVX3) && (HWY_STATIC_TARGET != HWY_AVX3)
#undef HWY_TARGET
#define HWY_TARGET HWY_AVX3
#include "hwy/ops/set_macros-inl.h"
#include PARE_TARGET_INCLUDE
#endif
#if defined(HWY_AVX3_DL) && (HWY_TARGETS & HWY_AVX3_DL) && (HWY_STATIC_TARGET != HWY_AVX3_DL)
#undef HWY_TARGET
#define HWY_TARGET HWY_AVX3_DL
#include "hwy/ops/set_macros-inl.h"
#include PARE_TARGET_INCLUDE
#endif
#if defined(HWY_AVX3_ZEN4) && (HWY_TARGETS & HWY_AVX3_ZEN4) && (HWY_STATIC_TARGET != HWY_AVX3_ZEN4)
#undef HWY_TARGET
#define HWY_TARGET HWY_AVX3_ZEN4
#include "hwy/ops/set_macros-inl.h"
#include PARE_TARGET_INCLUDE
#endif
#if defined(HWY_AVX3_SPR) && (HWY_TARGETS & HWY_AVX3_SPR) && (HWY_STATIC_TARGET != HWY_AVX3_SPR)
#undef HWY_TARGET
#define HWY_TARGET HWY_AVX3_SPR
#include "hwy/ops/set_macros-inl.h"
#include PARE_TARGET_INCLUDE
#endif
#if defined(HWY_AVX10_2) && (HWY_TARGETS & HWY_AVX10_2) && (HWY_STATIC_TARGET != HWY_AVX10_2)
#undef HWY_TARGET
#define HWY_TARGET HWY_AVX10_2
#include "hwy/ops/set_macros-inl.h"
#include PARE_TARGET_INCLUDE
#endif
#if defined(HWY_SVE) && (HWY_TARGETS & HWY_SVE) && (HWY_STATIC_TARGET != HWY_SVE)
#undef HWY_TARGET
#define HWY_TARGET HWY_SVE
#include "hwy/ops/set_macros-inl.h"
#include PARE_TARGET_INCLUDE
#endif
#if defined(HWY_SVE2) && (HWY_TARGETS & HWY_SVE2) && (HWY_STATIC_TARGET != HWY_SVE2)
#undef HWY_TARGET
#define HWY_TARGET HWY_SVE2
#include "hwy/ops/set_macros-inl.h"
#include PARE_TARGET_INCLUDE
#endif
#if defined(HWY_SVE_256) && (HWY_TARGETS & HWY_SVE_256) && (HWY_STATIC_TARGET != HWY_SVE_256)
#undef HWY_TARGET
#define HWY_TARGET HWY_SVE_256
#include "hwy/ops/set_macros-inl.h"
#include PARE_TARGET_INCLUDE
#endif
#if defined(HWY_SVE2_128) && (HWY_TARGETS & HWY_SVE2_128) && (HWY_STATIC_TARGET != HWY_SVE2_128)
#undef HWY_TARGET
#define HWY_TARGET HWY_SVE2_128
#include "hwy/ops/set_macros-inl.h"
#include PARE_TARGET_INCLUDE
#endif
#if defined(HWY_RVV) && (HWY_TARGETS & HWY_RVV) && (HWY_STATIC_TARGET != HWY_RVV)
#undef HWY_TARGET
#define HWY_TARGET HWY_RVV
#include "hwy/ops/set_macros-inl.h"
#include PARE_TARGET_INCLUDE
#endif
#undef HWY_TARGET
#define HWY_TARGET HWY_STATIC_TARGET
#include "hwy/ops/set_macros-inl.h"
#include PARE_TARGET_INCLUDE
#undef PARE_TARGET_INCLUDE
