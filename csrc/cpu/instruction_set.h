// The kernels compiled for one instruction set. The including file defines WGAN_FAST_ISA, the name
// of the set and of its namespace, WGAN_FAST_TARGET, the features to compile for, if any, and
// WGAN_FAST_STORE, the bytes of its widest store past the caches, if it has any.
//
// Everything from the standard library is included before the target is switched on: an inline
// function of another header, compiled for a newer processor, could otherwise be the copy that the
// linker keeps for everybody.
#pragma once

#include <cstdint>
#include <cstring>
#if defined(__SSE2__)
#include <immintrin.h>
#endif

#include "../common/arguments.h"
#include "../common/philox.h"
#include "number.h"
#include "table.h"

#define WGAN_FAST_PRAGMA(text) _Pragma(#text)
#if defined(WGAN_FAST_TARGET)
#if defined(__clang__)
#define WGAN_FAST_PUSH(features) \
  WGAN_FAST_PRAGMA(clang attribute push(__attribute__((target(features))), apply_to = function))
WGAN_FAST_PUSH(WGAN_FAST_TARGET)
#else
#pragma GCC push_options
#define WGAN_FAST_PUSH(features) WGAN_FAST_PRAGMA(GCC target(features))
WGAN_FAST_PUSH(WGAN_FAST_TARGET)
#endif
#endif

namespace wgan_fast {
namespace WGAN_FAST_ISA {
namespace {

WGAN_FAST_INLINE int64_t min(int64_t a, int64_t b) { return a < b ? a : b; }
WGAN_FAST_INLINE int64_t max(int64_t a, int64_t b) { return a > b ? a : b; }

// One rounding where the processor has the instruction. Without it, two: calling the library's
// exact fmaf for every element would cost more than the rest of the kernel.
#if defined(WGAN_FAST_TARGET) || defined(__FMA__) || defined(__ARM_FEATURE_FMA)
WGAN_FAST_INLINE float multiply_add(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
WGAN_FAST_INLINE double multiply_add(double a, double b, double c) {
  return __builtin_fma(a, b, c);
}
#else
WGAN_FAST_INLINE float multiply_add(float a, float b, float c) { return a * b + c; }
WGAN_FAST_INLINE double multiply_add(double a, double b, double c) { return a * b + c; }
#endif

#include "interpolate.h"
#include "norm_penalty.h"

template <class T>
KernelTable<T> make_table() {
  return {interpolate<T>,  interpolate_backward<T>, sum_of_squares<T>,
          sums_of_rows<T>, finish_rows<T>,          norm_penalty_backward<T>};
}

}  // namespace

const KernelTables& tables() {
  static const KernelTables all = {make_table<float>(), make_table<double>(), make_table<Half>(),
                                   make_table<BFloat16>()};
  return all;
}

}  // namespace WGAN_FAST_ISA
}  // namespace wgan_fast

#if defined(WGAN_FAST_TARGET)
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif
