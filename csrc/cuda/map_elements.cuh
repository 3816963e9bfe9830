// The frame of every kernel that computes each element of dense arrays by itself, from the same
// element of its inputs: map_rows.cuh without rows, in fewer registers.
//
// Thread mapping: the arrays are cut into packets of 16 bytes; neighbouring threads take
// neighbouring packets, and blocks go on grid-stride. The last packet, and all where one of the
// arrays is not aligned to 16 bytes, are moved element by element.
// Traffic: each input is read once and each output written once.
//
// `Op` provides
//   Type, inputs, outputs    element type, and how many arrays
//   in[inputs], out[outputs] the arrays, as const Type* and Type*
//   apply(x, y)              the outputs y[] of one element from the inputs x[]
#pragma once

#include "kernels.h"
#include "number.cuh"
#include "threads.cuh"

namespace wgan_fast {
namespace cuda {

// `count` elements from i on, one by one.
template <class Op>
__device__ inline void map_single_elements(const Op& op, int64_t i, int count) {
  using T = typename Op::Type;
#pragma unroll 1
  for (const int64_t end = i + count; i < end; ++i) {
    compute_t<T> x[Op::inputs];
    compute_t<T> y[Op::outputs];
#pragma unroll
    for (int a = 0; a < Op::inputs; ++a) x[a] = widen(op.in[a][i]);
    op.apply(x, y);
#pragma unroll
    for (int a = 0; a < Op::outputs; ++a) op.out[a][i] = narrow<T>(y[a]);
  }
}

// The packets that begin at element i, aligned and whole.
template <class Op>
__device__ inline void map_packets(const Op& op, int64_t i) {
  using T = typename Op::Type;
  Packet<T> in[Op::inputs];
  Packet<T> out[Op::outputs];
#pragma unroll
  for (int a = 0; a < Op::inputs; ++a) in[a] = load_aligned(op.in[a] + i);
#pragma unroll
  for (int k = 0; k < Packet<T>::width; ++k) {
    compute_t<T> x[Op::inputs];
    compute_t<T> y[Op::outputs];
#pragma unroll
    for (int a = 0; a < Op::inputs; ++a) x[a] = widen(in[a].element[k]);
    op.apply(x, y);
#pragma unroll
    for (int a = 0; a < Op::outputs; ++a) out[a].element[k] = narrow<T>(y[a]);
  }
#pragma unroll
  for (int a = 0; a < Op::outputs; ++a) store_aligned(op.out[a] + i, out[a]);
}

template <class Op>
__global__ void __launch_bounds__(kThreads, 4)  // at most 64 registers
    map_elements(const Op op, const int64_t size, const bool aligned) {
  constexpr int width = Packet<typename Op::Type>::width;
  const int64_t step = int64_t{gridDim.x} * kThreads * width;
  for (int64_t i = (int64_t{blockIdx.x} * kThreads + threadIdx.x) * width; i < size; i += step) {
    const int count = size - i < width ? static_cast<int>(size - i) : width;
    if (aligned && count == width) {
      map_packets(op, i);
    } else {
      map_single_elements(op, i, count);
    }
  }
}

template <class Op>
cudaError_t launch_map_elements(const Op& op, int64_t size, const Launch& launch) {
  bool aligned = true;
  for (const auto* p : op.in) aligned = aligned && is_aligned(p);
  for (const auto* p : op.out) aligned = aligned && is_aligned(p);
  const int64_t packets = ceil_divide(size, Packet<typename Op::Type>::width);
  const auto blocks =
      static_cast<unsigned>(clamp(ceil_divide(packets, kThreads), 1, launch.max_blocks));
  map_elements<Op><<<blocks, kThreads, 0, launch.stream>>>(op, size, aligned);
  return cudaGetLastError();
}

}  // namespace cuda
}  // namespace wgan_fast
