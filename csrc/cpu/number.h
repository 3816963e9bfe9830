// Conversion of the element types to and from the type in which the CPU kernels compute.
//
// Half and bfloat16 are converted with integer arithmetic and selects alone: compilers turn these
// loops into vector code for any instruction set, and no hardware support is asked for.
#pragma once

#include <cstdint>
#include <cstring>

#include "../common/arguments.h"

#define WGAN_FAST_INLINE inline __attribute__((always_inline))

namespace wgan_fast {

WGAN_FAST_INLINE uint32_t bits_of(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  return bits;
}

WGAN_FAST_INLINE float float_of(uint32_t bits) {
  float x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}

WGAN_FAST_INLINE double widen(double x) { return x; }
WGAN_FAST_INLINE float widen(float x) { return x; }
WGAN_FAST_INLINE float widen(BFloat16 x) { return float_of(uint32_t{x.bits} << 16); }
WGAN_FAST_INLINE float widen(Half x) {
  const uint32_t magnitude = x.bits & 0x7FFFu;
  const uint32_t sign = static_cast<uint32_t>(x.bits & 0x8000u) << 16;
  // Move the exponent from bias 15 to bias 127; infinity and NaN keep the largest exponent.
  const uint32_t rebias = (magnitude >= 0x7C00u ? 224u : 112u) << 23;
  const uint32_t normal = (magnitude << 13) + rebias;
  // A subnormal half is an integer multiple of 2^-24, the spacing of floats at 0.5. Not left to the
  // processor's own subnormals, which torch.set_flush_denormal may have turned off.
  const uint32_t subnormal = bits_of(float_of(0x3F000000u | magnitude) - 0.5f);
  return float_of((magnitude < 0x0400u ? subnormal : normal) | sign);
}

template <class T>
WGAN_FAST_INLINE T narrow(compute_t<T> x) {
  return x;
}
template <>
WGAN_FAST_INLINE BFloat16 narrow<BFloat16>(float x) {
  const uint32_t bits = bits_of(x);
  const uint32_t rounded = (bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16;  // nearest, ties to even
  const uint32_t nan = (bits >> 16) | 0x0040u;
  return {static_cast<uint16_t>((bits & 0x7FFFFFFFu) > 0x7F800000u ? nan : rounded)};
}
template <>
WGAN_FAST_INLINE Half narrow<Half>(float x) {
  const uint32_t bits = bits_of(x);
  const uint32_t magnitude = bits & 0x7FFFFFFFu;
  const uint32_t sign = (bits >> 16) & 0x8000u;
  const uint32_t even = (magnitude >> 13) & 1u;
  const uint32_t normal = (magnitude + 0x0FFFu + even - (112u << 23)) >> 13;
  const uint32_t subnormal = bits_of(float_of(magnitude) + 0.5f) - 0x3F000000u;  // rounds to 2^-24
  const uint32_t finite = magnitude < 0x38800000u ? subnormal : normal;
  const uint32_t infinite = magnitude > 0x7F800000u ? 0x7E00u : 0x7C00u;
  return {static_cast<uint16_t>((magnitude >= 0x477FF000u ? infinite : finite) | sign)};
}

}  // namespace wgan_fast
