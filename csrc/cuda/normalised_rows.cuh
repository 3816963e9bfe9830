// Rows that are normalised: their sums, and what follows from these for each element.
//
// Thread mapping: 1 to 32 lanes for a short row, sums and elements in one kernel; a block for a
// segment of a long one, in two kernels, the second of which puts the sums of a row together.
// Traffic: every input is read twice, the second time from the cache if a row fits into it; every
// output is written once. By packets of 16 bytes where all are aligned and no packet crosses the
// border between two weights, else by elements.
// Numerics: a thread adds up its few elements, then the threads in a tree.
//
// `P` is what is computed from one element, with
//   Type, C, inputs, outputs    element type, the type in which it is computed, how many arrays
//   Sums, Row                   of a row or a part of it, and what these come to
//   args.at                     the rows, as NormalisedRows
//   input(k), output(k)         the arrays, input(0) being x
//   tangent_weight(), ...       the weights' other arrays, or null
//   add_up, apply, to_weight    one element, into the sums, the outputs, the gradient of its weight
#pragma once

#include "../common/normalised_row.h"
#include "map_rows.cuh"

namespace wgan_fast {
namespace cuda {

// Leaves the compiler 80 registers: three arrays in packets are on their way at a time, which is
// enough for fewer threads to keep the memory busy.
constexpr int kBlocksPerProcessor = 3;

template <class C>
__device__ BackwardSums<C> operator+(const BackwardSums<C>& a, const BackwardSums<C>& b) {
  return {a.g + b.g, a.gn + b.gn};
}
template <class C>
__device__ DoubleBackwardSums<C> operator+(const DoubleBackwardSums<C>& a,
                                           const DoubleBackwardSums<C>& b) {
  return {a.g + b.g, a.gn + b.gn, a.v + b.v, a.vn + b.vn, a.gv + b.gv, a.h + b.h, a.hn + b.hn};
}

template <class Group, class C>
__device__ BackwardSums<C> reduce(const Group& group, const BackwardSums<C>& sum) {
  return {group.reduce(sum.g, Add()), group.reduce(sum.gn, Add())};
}
template <class Group, class C>
__device__ DoubleBackwardSums<C> reduce(const Group& group, const DoubleBackwardSums<C>& sum) {
  return {group.reduce(sum.g, Add()),  group.reduce(sum.gn, Add()), group.reduce(sum.v, Add()),
          group.reduce(sum.vn, Add()), group.reduce(sum.gv, Add()), group.reduce(sum.h, Add()),
          group.reduce(sum.hn, Add())};
}

// How a call is cut. A segment is `segment` elements of a row.
struct Plan {
  int lanes;  // for a row, or 0 where rows are cut into segments
  int segments;
  int64_t segment;
  // For the gradients of the weights.
  int64_t tiles;   // of the weights, a block for each
  int64_t chunks;  // of the samples
  int threads_of_a_run;
};

// Elements [begin, end) of a row, `Width` at a time, shared by the threads of a group: calls
// f(first, in) with the inputs of those from element `first` on.
template <int Width, class P, class Group, class F>
__device__ void for_each_packet(const P& pass, int64_t row, int64_t begin, int64_t end,
                                const Group& group, F f) {
  using T = typename P::Type;
  const int64_t start = row * pass.args.at.size;
#pragma unroll 1
  for (int64_t i = begin + int64_t{group.rank()} * Width; i < end; i += group.size() * Width) {
    Packet<T> in[P::inputs];
#pragma unroll
    for (int a = 0; a < P::inputs; ++a) {
      const T* p = pass.input(a) + start + i;
      if constexpr (Width > 1) {
        in[a] = load_aligned(p);
      } else {
        in[a].element[0] = *p;
      }
    }
    f(i, in);
  }
}

// The index of the first weight of a row.
template <class T>
__device__ int64_t first_weight(const NormalisedRows<T>& at, int64_t row) {
  const int64_t group = row - divide(row, at.groups) * at.groups;
  return group * divide(at.size, at.run);
}

template <class C>
__device__ C value_at(const C* values, int64_t i, C otherwise) {
  return values == nullptr ? otherwise : values[i];
}

// The sums of elements [begin, end) of a row, in every thread of the group.
template <int Width, class P, class Group>
__device__ typename P::Sums sums_of(const P& pass, int64_t row, int64_t begin, int64_t end,
                                    const Group& group) {
  using C = typename P::C;
  const auto& at = pass.args.at;
  const bool inside = row < at.rows;
  const C mean = inside ? value_at(at.mean, row, C(0)) : C(0);
  const C rstd = inside ? at.rstd[row] : C(0);
  const int64_t weights = first_weight(at, row);
  typename P::Sums sum = {};
  for_each_packet<Width>(pass, row, begin, inside ? end : begin, group,
                         [&](int64_t i, const Packet<typename P::Type>* in) {
                           const int64_t first = weights + (at.run == 1 ? i : divide(i, at.run));
#pragma unroll
                           for (int k = 0; k < Width; ++k) {
                             C x[P::inputs];
#pragma unroll
                             for (int a = 0; a < P::inputs; ++a) x[a] = widen(in[a].element[k]);
                             const int64_t j = first + (at.run == 1 ? k : 0);
                             P::add_up(sum, x, (x[0] - mean) * rstd, value_at(at.weight, j, C(1)),
                                       value_at(pass.tangent_weight(), j, C(0)));
                           }
                         });
  return reduce(group, sum);
}

// store_aligned() by an instruction that the compiler cannot take apart; of what the loop below
// stores, nvcc 13 makes four stores of 4 bytes.
template <class T>
__device__ void store_whole(T* p, const Packet<T>& packet) {
  uint4 bits;
  memcpy(&bits, &packet, sizeof bits);
  __stwb(reinterpret_cast<uint4*>(p), bits);
}

// Writes the results of elements [begin, end) of a row.
template <int Width, class P, class Group>
__device__ void apply_to(const P& pass, const typename P::Row& of_row, int64_t row, int64_t begin,
                         int64_t end, const Group& group) {
  using T = typename P::Type;
  using C = typename P::C;
  if (pass.output(0) == nullptr) return;
  const auto& at = pass.args.at;
  const C mean = value_at(at.mean, row, C(0));
  const int64_t weights = first_weight(at, row);
  for_each_packet<Width>(pass, row, begin, end, group, [&](int64_t i, const Packet<T>* in) {
    const int64_t first = weights + (at.run == 1 ? i : divide(i, at.run));
    Packet<T> out[P::outputs];
#pragma unroll
    for (int k = 0; k < Width; ++k) {
      C x[P::inputs], y[P::outputs];
#pragma unroll
      for (int a = 0; a < P::inputs; ++a) x[a] = widen(in[a].element[k]);
      const int64_t j = first + (at.run == 1 ? k : 0);
      P::apply(of_row, x, x[0] - mean, value_at(at.weight, j, C(1)),
               value_at(pass.tangent_weight(), j, C(0)), value_at(pass.tangent_bias(), j, C(0)), y);
#pragma unroll
      for (int a = 0; a < P::outputs; ++a) out[a].element[k] = narrow<T>(y[a]);
    }
#pragma unroll
    for (int a = 0; a < P::outputs; ++a) {
      T* p = pass.output(a) + row * at.size + i;
      if constexpr (Width > 1) {
        store_whole(p, out[a]);
      } else {
        *p = out[a].element[0];
      }
    }
  });
}

template <class P>
__device__ typename P::Row row_of(const P& pass, int64_t row, const typename P::Sums& sum) {
  const auto& at = pass.args.at;
  return {sum, at.rstd[row], static_cast<typename P::C>(at.size), at.mean != nullptr};
}

// Short rows: 1, 2, 4, 8, 16 or 32 lanes for a row.
template <class P, int Width>
__global__ void __launch_bounds__(kThreads, kBlocksPerProcessor)
    normalise_by_lanes(const P pass, const Plan plan, typename P::Row* rows) {
  const auto& at = pass.args.at;
  const Lanes lanes = {plan.lanes};
  const int64_t step = kThreads / plan.lanes;
  for (int64_t first = blockIdx.x * step; first < at.rows; first += gridDim.x * step) {
    const int64_t row = first + threadIdx.x / plan.lanes;
    const auto sum = sums_of<Width>(pass, row, 0, at.size, lanes);
    if (row >= at.rows) continue;
    const auto of_row = row_of(pass, row, sum);
    apply_to<Width>(pass, of_row, row, 0, at.size, lanes);
    if (rows != nullptr && lanes.rank() == 0) rows[row] = of_row;
  }
}

// Long rows: a block for a segment of a row.
template <class P, int Width>
__global__ void __launch_bounds__(kThreads, kBlocksPerProcessor)
    sums_of_segments(const P pass, const Plan plan, typename P::Sums* sums) {
  using C = typename P::C;
  __shared__ C slot[kWarps];
  const Block<C> block = {slot};
  const auto& at = pass.args.at;
  for (int64_t item = blockIdx.x; item < at.rows * plan.segments; item += gridDim.x) {
    const int64_t row = divide(item, plan.segments);
    const int64_t begin = (item - row * plan.segments) * plan.segment;
    const int64_t end = begin + plan.segment < at.size ? begin + plan.segment : at.size;
    const auto sum = sums_of<Width>(pass, row, begin, end, block);
    if (threadIdx.x == 0) sums[item] = sum;
  }
}

template <class P, int Width>
__global__ void __launch_bounds__(kThreads, kBlocksPerProcessor)
    normalise_by_segments(const P pass, const Plan plan, const typename P::Sums* sums,
                          typename P::Row* rows) {
  using C = typename P::C;
  __shared__ C slot[kWarps];
  const Block<C> block = {slot};
  const auto& at = pass.args.at;
  for (int64_t item = blockIdx.x; item < at.rows * plan.segments; item += gridDim.x) {
    const int64_t row = divide(item, plan.segments);
    const int64_t begin = (item - row * plan.segments) * plan.segment;
    const int64_t end = begin + plan.segment < at.size ? begin + plan.segment : at.size;
    typename P::Sums sum = {};
    for (int s = block.rank(); s < plan.segments; s += kThreads) {
      sum = sum + sums[row * plan.segments + s];
    }
    const auto of_row = row_of(pass, row, reduce(block, sum));
    apply_to<Width>(pass, of_row, row, begin, end, block);
    if (rows != nullptr && begin == 0 && threadIdx.x == 0) rows[row] = of_row;
  }
}

}  // namespace cuda
}  // namespace wgan_fast
