// WGAN_FAST_LOOPS compiled for one instruction set: included once for each by instruction_sets.h,
// which defines WGAN_FAST_ISA, the name of the set and of its namespace, WGAN_FAST_TARGET, the
// features to compile for, if any, and WGAN_FAST_STORE, the bytes of its widest store past the
// caches, if it has any.

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
namespace cpu {
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

#include "past_caches.h"
#include "pieces.h"
#include WGAN_FAST_LOOPS

}  // namespace
}  // namespace WGAN_FAST_ISA
}  // namespace cpu
}  // namespace wgan_fast

#if defined(WGAN_FAST_TARGET)
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif

#undef WGAN_FAST_ISA
#undef WGAN_FAST_TARGET
#undef WGAN_FAST_STORE
#undef WGAN_FAST_PUSH
#undef WGAN_FAST_PRAGMA
