// The element types on the device: conversion, and access to 16 bytes of elements at once.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>
#include <string.h>

#include <cstdint>

#include "../common/arguments.h"

namespace wgan_fast {
namespace cuda {

__device__ inline double widen(double x) { return x; }
__device__ inline float widen(float x) { return x; }
__device__ inline float widen(Half x) { return __half2float(__ushort_as_half(x.bits)); }
__device__ inline float widen(BFloat16 x) { return __bfloat162float(__ushort_as_bfloat16(x.bits)); }

// Rounds to nearest, ties to even.
template <class T>
__device__ inline T narrow(compute_t<T> x) {
  return x;
}
template <>
__device__ inline Half narrow<Half>(float x) {
  return {__half_as_ushort(__float2half_rn(x))};
}
template <>
__device__ inline BFloat16 narrow<BFloat16>(float x) {
  return {__bfloat16_as_ushort(__float2bfloat16_rn(x))};
}

__device__ inline float multiply_add(float a, float b, float c) { return fmaf(a, b, c); }
__device__ inline double multiply_add(double a, double b, double c) { return fma(a, b, c); }

// As many elements as one load or store of a thread can move.
template <class T>
struct Packet {
  static constexpr int width = 16 / sizeof(T);
  T element[width];
};

__host__ __device__ inline bool is_aligned(const void* p) {
  return reinterpret_cast<uintptr_t>(p) % 16 == 0;
}

// `p` is aligned to 16 bytes.
template <class T>
__device__ inline Packet<T> load_aligned(const T* p) {
  const uint4 bits = *reinterpret_cast<const uint4*>(p);
  Packet<T> packet;
  memcpy(&packet, &bits, sizeof bits);
  return packet;
}

template <class T>
__device__ inline void store_aligned(T* p, const Packet<T>& packet) {
  uint4 bits;
  memcpy(&bits, &packet, sizeof bits);
  *reinterpret_cast<uint4*>(p) = bits;
}

}  // namespace cuda
}  // namespace wgan_fast
