// Threads that work together: the lanes that share a row, and the threads of a block.
//
// Sums are taken in a fixed order, so a result does not depend on which thread comes first. Each
// member gets the result, the same to the last bit, since it adds the same pairs.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace wgan_fast {
namespace cuda {

// Threads of a block. A build for the race detector makes blocks smaller.
#if defined(WGAN_FAST_CUDA_THREADS)
constexpr int kThreads = WGAN_FAST_CUDA_THREADS;
#else
constexpr int kThreads = 256;
#endif
constexpr int kLanes = 32;
constexpr int kWarps = kThreads / kLanes;
constexpr unsigned kAllLanes = 0xffffffffu;

inline int64_t ceil_divide(int64_t a, int64_t b) { return (a + b - 1) / b; }
inline int64_t clamp(int64_t x, int64_t low, int64_t high) {
  return x < low ? low : x > high ? high : x;
}

struct Add {
  template <class C>
  __device__ C operator()(const C& a, const C& b) const {
    return a + b;
  }
};

// NaN wins: a row that holds one must not look fine.
struct Largest {
  template <class C>
  __device__ C operator()(C a, C b) const {
    return b > a || b != b ? b : a;
  }
};

__device__ inline float other_lane(float v, int distance) {
  return __shfl_xor_sync(kAllLanes, v, distance);
}
__device__ inline double other_lane(double v, int distance) {
  return __shfl_xor_sync(kAllLanes, v, distance);
}

// `count` neighbouring lanes of a warp, a power of two. Every lane of the warp takes part in every
// call, each for its own group.
struct Lanes {
  int count;

  __device__ int size() const { return count; }
  __device__ int rank() const { return static_cast<int>(threadIdx.x) % count; }

  template <class V, class Combine>
  __device__ V reduce(V v, Combine combine) const {
    for (int distance = count / 2; distance > 0; distance /= 2) {
      v = combine(v, other_lane(v, distance));
    }
    return v;
  }
  // Whether any lane of the warp says so.
  __device__ bool any(bool condition) const { return __any_sync(kAllLanes, condition); }
};

// All threads of a block. `slot` is shared memory.
template <class C>
struct Block {
  C* slot;  // [kWarps]

  __device__ int size() const { return kThreads; }
  __device__ int rank() const { return static_cast<int>(threadIdx.x); }

  template <class Combine>
  __device__ C reduce(C v, Combine combine) const {
    v = Lanes{kLanes}.reduce(v, combine);
    const int lane = threadIdx.x % kLanes;
    if (lane == 0) slot[threadIdx.x / kLanes] = v;
    __syncthreads();
    v = Lanes{kWarps}.reduce(slot[lane % kWarps], combine);
    __syncthreads();  // before a next call writes the slots
    return v;
  }
  // The condition is the same in every thread.
  __device__ bool any(bool condition) const { return condition; }
};

// Whether this block is the last one to come here. All its threads then see what the threads 0 of
// all blocks wrote before.
__device__ inline bool is_last_block(unsigned* ticket) {
  __shared__ bool last;
  if (threadIdx.x == 0) {
    __threadfence();  // what this block wrote comes before its ticket
    last = atomicAdd(ticket, 1u) == gridDim.x - 1;
    __threadfence();  // what the others wrote before their tickets is read after this one
    if (last) atomicExch(ticket, 0u);
  }
  __syncthreads();
  return last;
}

}  // namespace cuda
}  // namespace wgan_fast
