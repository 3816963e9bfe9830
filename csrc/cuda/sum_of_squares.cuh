// The sum of the squares of a row, or of a piece of it, that neither over- nor underflows.
#pragma once

#include <float.h>
#include <limits.h>

#include <type_traits>

#include "number.cuh"
#include "threads.cuh"

namespace wgan_fast {
namespace cuda {

// A piece of memory: `head` single elements, then aligned packets, then `tail` single elements.
template <class T>
struct Piece {
  const T* data;
  int head;
  int packets;
  int tail;

  __device__ bool empty() const { return head + packets + tail == 0; }
};

template <class T>
__device__ inline Piece<T> single_elements(const T* row, int64_t dim) {
  return {row, static_cast<int>(dim), 0, 0};
}

// The row from its aligned packet `first` on, at most `count` packets. The piece that starts with
// packet 0 has the elements before it, the last piece those after the last packet.
template <class T>
__device__ inline Piece<T> aligned_packets(const T* row, int64_t dim, int64_t first, int count,
                                           bool is_last) {
  constexpr int width = Packet<T>::width;
  const int misaligned = static_cast<int>(reinterpret_cast<uintptr_t>(row) % 16 / sizeof(T));
  const int before = misaligned == 0 ? 0 : width - misaligned;
  const int64_t head = before < dim ? before : dim;
  const int64_t packets = (dim - head) / width;
  const int64_t left = packets > first ? packets - first : 0;
  return {first == 0 ? row : row + head + first * width, first == 0 ? static_cast<int>(head) : 0,
          left < count ? static_cast<int>(left) : count,
          is_last ? static_cast<int>(dim - head - packets * width) : 0};
}

template <class T>
__device__ inline Piece<T> aligned_packets(const T* row, int64_t dim) {
  return aligned_packets(row, dim, 0, INT_MAX, true);
}

// Calls f(k, x) for this thread's share of the piece; adjacent elements of a packet have different
// k. `Unroll` packets are on their way at a time.
template <int Unroll, class T, class Group, class F>
__device__ inline void for_each_element(const Piece<T>& piece, const Group& group, F f) {
  constexpr int width = Packet<T>::width;
  for (int i = group.rank(); i < piece.head; i += group.size()) f(0, widen(piece.data[i]));
  const T* packets = piece.data + piece.head;
#pragma unroll Unroll
  for (int p = group.rank(); p < piece.packets; p += group.size()) {
    const Packet<T> packet = load_aligned(packets + int64_t{p} * width);
#pragma unroll
    for (int k = 0; k < width; ++k) f(k, widen(packet.element[k]));
  }
  const T* tail = packets + int64_t{piece.packets} * width;
  for (int i = group.rank(); i < piece.tail; i += group.size()) f(0, widen(tail[i]));
}

// sum * scale^2. The scale is 1, or where that would leave the range of the type, the largest
// magnitude in the sum; infinity and NaN come through. The sum of nothing has scale 0, so that the
// scale of what is added to it prevails.
template <class C>
struct ScaledSum {
  C sum;
  C scale;

  __device__ C norm() const { return scale * sqrt(sum); }
};

template <class C>
__device__ inline ScaledSum<C> operator+(const ScaledSum<C>& a, const ScaledSum<C>& b) {
  if (a.scale == b.scale) return {a.sum + b.sum, a.scale};
  const C largest = Largest()(a.scale, b.scale);
  const C p = a.scale == largest ? C(1) : a.scale / largest;
  const C q = b.scale == largest ? C(1) : b.scale / largest;
  return {a.sum * p * p + b.sum * q * q, largest};
}

template <class C>
__device__ inline ScaledSum<C> other_lane(const ScaledSum<C>& v, int distance) {
  return {other_lane(v.sum, distance), other_lane(v.scale, distance)};
}

// Whether a plain sum of squares has lost nothing: no square overflowed, and those that underflowed
// are too small beside it to count. Zero is not trusted: tiny entries give it too.
template <class T>
__device__ inline bool is_exact_enough(compute_t<T> sum) {
  if (std::is_same<T, Half>::value) return true;  // the square of any half is a normal float
  const bool is_double = sizeof(compute_t<T>) == sizeof(double);
  const auto least = static_cast<compute_t<T>>(is_double ? 1e-280 : 1e-27);
  const auto most = static_cast<compute_t<T>>(is_double ? DBL_MAX : FLT_MAX);
  return sum >= least && sum <= most;
}

// The sum of f(x)^2 over the piece, in each thread of the group.
template <int Unroll, class T, class Group, class F>
__device__ inline compute_t<T> plain_sum(const Piece<T>& piece, const Group& group, F f) {
  constexpr int width = Packet<T>::width;
  compute_t<T> sum[width] = {};
  for_each_element<Unroll>(
      piece, group, [&](int k, compute_t<T> x) { sum[k] = multiply_add(f(x), f(x), sum[k]); });
#pragma unroll
  for (int half = width / 2; half > 0; half /= 2) {
#pragma unroll
    for (int k = 0; k < half; ++k) sum[k] += sum[k + half];
  }
  return group.reduce(sum[0], Add());
}

// The sum of squares of the piece, in each thread of the group that calls this together.
template <class T, class Group>
__device__ inline ScaledSum<compute_t<T>> sum_of_squares(const Piece<T>& piece,
                                                         const Group& group) {
  using C = compute_t<T>;
  const C sum = plain_sum<4>(piece, group, [](C x) { return x; });
  const bool fine = piece.empty() || is_exact_enough<T>(sum);
  const ScaledSum<C> unscaled = {sum, C(piece.empty() ? 0 : 1)};
  if (!group.any(!fine)) return unscaled;
  // Rare, so that a second and third reading do not count, and short code does. Groups of the warp
  // that are fine come along.
  C largest = 0;
  for_each_element<1>(piece, group, [&](int, C x) { largest = Largest()(largest, C(fabs(x))); });
  largest = group.reduce(largest, Largest());
  const bool usable = largest > 0 && largest - largest == 0;
  const C scaled = plain_sum<1>(piece, group, [=](C x) { return usable ? x / largest : C(0); });
  if (fine) return unscaled;
  return {usable ? scaled : C(largest == 0 ? 0 : 1), largest};
}

}  // namespace cuda
}  // namespace wgan_fast
