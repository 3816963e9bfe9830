// The frame of every kernel that computes each element of its packed outputs by itself, from the
// same element of its inputs and one factor for the whole row.
//
// Thread mapping: the outputs are one array of batch * dim elements, cut into packets of 16 bytes
// and those into tiles, one tile for a block; neighbouring threads take neighbouring packets, and
// blocks go on grid-stride. A thread computes the factor of a row once for all its packets in it.
// A packet may begin in one row and end in another, so short rows and rows of any length are
// served alike. Where 16 bytes of an input or output are not aligned, not in one piece, or not
// wholly inside the array, that packet is moved element by element.
// Traffic: each input is read once and each output written once.
//
// `Op` provides
//   Type, inputs, outputs    element type, and how many arrays
//   in[inputs], out[outputs] the arrays, as Rows<const Type> and Type*
//   Factor row(int64_t b)    the factor of row b
//   apply(factor, x, y)      the outputs y[] of one element from the inputs x[]
#pragma once

#include "kernels.h"
#include "number.cuh"
#include "threads.cuh"

namespace wgan_fast {
namespace cuda {

struct Extent {
  int64_t dim;
  int64_t size;            // batch * dim
  int packets_per_thread;  // in one tile
};

// Where a packed element lies.
struct Place {
  int64_t row;
  int64_t offset;
};

// 64-bit division is a long subroutine; most batches do not need it.
__device__ inline int64_t divide(int64_t a, int64_t b) {
  if (((a | b) >> 32) == 0) return static_cast<uint32_t>(a) / static_cast<uint32_t>(b);
  return a / b;
}

__device__ inline void advance(Place& at, int64_t step, int64_t dim) {
  at.offset += step;
  if (at.offset < dim) return;
  const int64_t rows = divide(at.offset, dim);
  at.row += rows;
  at.offset -= rows * dim;
}

// `count` elements from `at` on.
template <class T>
__device__ inline Packet<T> load_packet(const Rows<const T>& x, Place at, int64_t dim, int count) {
  constexpr int width = Packet<T>::width;
  const T* p = x.data + at.row * x.stride + at.offset;
  const bool in_one_piece = x.stride == dim || at.offset + width <= dim;
  if (count == width && in_one_piece && is_aligned(p)) return load_aligned(p);
  Packet<T> packet = {};
#pragma unroll
  for (int k = 0; k < width; ++k) {
    if (k >= count) break;
    packet.element[k] = *p++;
    if (++at.offset == dim) {
      at.offset = 0;
      p += x.stride - dim;
    }
  }
  return packet;
}

template <class T>
__device__ inline void store_packet(T* p, const Packet<T>& packet, int count) {
  constexpr int width = Packet<T>::width;
  if (count == width && is_aligned(p)) return store_aligned(p, packet);
#pragma unroll
  for (int k = 0; k < width; ++k) {
    if (k < count) p[k] = packet.element[k];
  }
}

template <class Op>
using Packets = Packet<typename Op::Type>;

// Element k of every output from element k of every input.
template <class Op, class Factor>
__device__ inline void map_element(const Op& op, const Factor& factor, int k,
                                   const Packets<Op> (&in)[Op::inputs],
                                   Packets<Op> (&out)[Op::outputs]) {
  using T = typename Op::Type;
  compute_t<T> x[Op::inputs];
  compute_t<T> y[Op::outputs];
#pragma unroll
  for (int a = 0; a < Op::inputs; ++a) x[a] = widen(in[a].element[k]);
  op.apply(factor, x, y);
#pragma unroll
  for (int a = 0; a < Op::outputs; ++a) out[a].element[k] = narrow<T>(y[a]);
}

// The packet that starts at packed element i, which lies at `at`, in a row with this factor.
template <class Op, class Factor>
__device__ inline void map_packet(const Op& op, Factor factor, int64_t i, Place at,
                                  const Extent& extent) {
  constexpr int width = Packets<Op>::width;
  const int64_t left = extent.size - i;
  const int count = left < width ? static_cast<int>(left) : width;
  Packets<Op> in[Op::inputs];
  Packets<Op> out[Op::outputs];
#pragma unroll
  for (int a = 0; a < Op::inputs; ++a) in[a] = load_packet(op.in[a], at, extent.dim, count);
  if (at.offset + width <= extent.dim) {
#pragma unroll
    for (int k = 0; k < width; ++k) map_element(op, factor, k, in, out);
  } else {
#pragma unroll
    for (int k = 0; k < width; ++k) {
      if (k > 0 && k < count && ++at.offset == extent.dim) {
        at.offset = 0;
        factor = op.row(++at.row);
      }
      map_element(op, factor, k, in, out);
    }
  }
#pragma unroll
  for (int a = 0; a < Op::outputs; ++a) store_packet(op.out[a] + i, out[a], count);
}

template <class Op>
__global__ void __launch_bounds__(kThreads) map_rows(const Op op, const Extent extent) {
  constexpr int64_t step = int64_t{kThreads} * Packets<Op>::width;
  const int64_t tile = step * extent.packets_per_thread;
  for (int64_t start = blockIdx.x * tile; start < extent.size; start += gridDim.x * tile) {
    int64_t i = start + threadIdx.x * Packets<Op>::width;
    Place at = {0, 0};
    advance(at, i, extent.dim);
    int64_t row = -1;
    typename Op::Factor factor = {};
    for (int p = 0; p < extent.packets_per_thread && i < extent.size; ++p) {
      if (at.row != row) {
        row = at.row;
        factor = op.row(row);
      }
      map_packet(op, factor, i, at, extent);
      i += step;
      advance(at, step, extent.dim);
    }
  }
}

template <class Op>
cudaError_t launch_map_rows(const Op& op, int64_t batch, int64_t dim, const Launch& launch) {
  // Enough blocks to fill a large GPU come first, then several packets for a thread.
  const int64_t many_blocks = clamp(launch.max_blocks, 1, 1024);
  constexpr int64_t most_packets = 4;
  const int64_t packets = ceil_divide(batch * dim, Packets<Op>::width);
  const int64_t each = clamp(packets / (kThreads * many_blocks), 1, most_packets);
  const int64_t tiles = ceil_divide(packets, kThreads * each);
  const auto blocks = static_cast<unsigned>(clamp(tiles, 1, launch.max_blocks));
  const Extent extent = {dim, batch * dim, static_cast<int>(each)};
  map_rows<Op><<<blocks, kThreads, 0, launch.stream>>>(op, extent);
  return cudaGetLastError();
}

}  // namespace cuda
}  // namespace wgan_fast
