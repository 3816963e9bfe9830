// CUDA's language on the CPU. Included before a translated kernel file; a thread of the simulated
// GPU is a fiber, and everything that makes threads wait for each other is in runtime/.
#pragma once

// The toolkit's own headers first: they declare threadIdx and the function attributes.
#include <cuda_runtime.h>
#include <device_launch_parameters.h>

#include <cstdint>
#include <tuple>
#include <type_traits>
#include <typeinfo>
#include <utility>

#undef __global__
#undef __device__
#undef __shared__
#undef __launch_bounds__
#define __global__
#define __device__
#define __launch_bounds__(...)

// The bookkeeping of the simulation is not what the race detector is to look at.
#define SIMT_UNWATCHED __attribute__((no_sanitize("thread")))

namespace simt {

// What a running thread knows of itself.
struct Context {
  uint3 thread;
  uint3 block;
  unsigned linear;  // number of the thread in its block
  unsigned lane;
  unsigned warp;
};
extern Context* current;
extern dim3 grid_dim;
extern dim3 block_dim;

enum class WarpOp { shuffle, ballot, sync };

// The runtime. `where` is a line of the kernel.
struct Where {
  const char* file;
  int line;
};
void sync_threads(Where where);
uint64_t warp_op(WarpOp op, unsigned mask, uint64_t value, unsigned source, Where where);
void thread_fence();
void before_atomic(const void* address);
void* shared_variable(const void* key, size_t size);

struct Shape {
  dim3 grid;
  dim3 block;
  Shape(dim3 grid, dim3 block, size_t = 0, cudaStream_t = nullptr) : grid(grid), block(block) {}
};
void run(const Shape& shape, void (*kernel)(void*), void* arguments, const char* name,
         const std::type_info& type);

// What `kernel<<<...>>>` is: takes the arguments, runs the grid.
template <class... P>
struct Launcher {
  Shape shape;
  void (*kernel)(P...);
  const char* name;

  template <class... A>
  void operator()(A&&... arguments) const {
    using First = std::tuple_element_t<0, std::tuple<std::decay_t<P>...>>;
    std::pair<void (*)(P...), std::tuple<std::decay_t<P>...>> call{kernel,
                                                                   {std::forward<A>(arguments)...}};
    const auto invoke = [](void* p) {
      auto& c = *static_cast<decltype(call)*>(p);
      std::apply(c.first, c.second);
    };
    run(shape, invoke, &call, name, typeid(First));
  }
};
template <class... P>
Launcher<P...> launch(const Shape& shape, void (*kernel)(P...), const char* name) {
  return {shape, kernel, name};
}

template <class T>
SIMT_UNWATCHED inline uint64_t to_bits(T value) {
  static_assert(sizeof(T) <= 8);
  uint64_t bits = 0;
  __builtin_memcpy(&bits, &value, sizeof(T));
  return bits;
}
template <class T>
SIMT_UNWATCHED inline T from_bits(uint64_t bits) {
  T value;
  __builtin_memcpy(&value, &bits, sizeof(T));
  return value;
}
SIMT_UNWATCHED inline unsigned lane() { return current->lane; }

}  // namespace simt

// A variable of the block: made anew, full of NaN, for every block that comes to this line.
#define SIMT_UNPACK(...) __VA_ARGS__
#define SIMT_SHARED(type, name, extent)                                  \
  typedef SIMT_UNPACK type simt_type_of_##name extent;                   \
  auto& name = *static_cast<simt_type_of_##name*>(simt::shared_variable( \
      []() -> const void* {                                              \
        static char key;                                                 \
        return &key;                                                     \
      }(),                                                               \
      sizeof(simt_type_of_##name)))

#define threadIdx (simt::current->thread)
#define blockIdx (simt::current->block)
#define blockDim (simt::block_dim)
#define gridDim (simt::grid_dim)
#undef warpSize
#define warpSize 32

#define SIMT_WHERE simt::Where where = {__builtin_FILE(), __builtin_LINE()}

inline void __syncthreads(SIMT_WHERE) { simt::sync_threads(where); }
inline void __syncwarp(unsigned mask = 0xffffffffu, SIMT_WHERE) {
  simt::warp_op(simt::WarpOp::sync, mask, 0, 0, where);
}
inline void __threadfence() { simt::thread_fence(); }

// A store through all caches, in one piece.
inline void __stwb(uint4* address, uint4 value) { *address = value; }

template <class T>
T __shfl_xor_sync(unsigned mask, T value, int distance, int width = 32, SIMT_WHERE) {
  const unsigned lane = simt::lane();
  const unsigned end = (lane & ~(width - 1u)) + width;
  const unsigned source = (lane ^ distance) < end ? lane ^ distance : lane;
  return simt::from_bits<T>(
      simt::warp_op(simt::WarpOp::shuffle, mask, simt::to_bits(value), source, where));
}
inline unsigned __ballot_sync(unsigned mask, int condition, SIMT_WHERE) {
  return static_cast<unsigned>(simt::warp_op(simt::WarpOp::ballot, mask, condition != 0, 0, where));
}
inline int __any_sync(unsigned mask, int condition, SIMT_WHERE) {
  return simt::warp_op(simt::WarpOp::ballot, mask, condition != 0, 0, where) != 0;
}

// Atomic, but no order for anything else: a missing fence stays visible to the race detector.
inline unsigned atomicAdd(unsigned* address, unsigned value) {
  simt::before_atomic(address);
  return __atomic_fetch_add(address, value, __ATOMIC_RELAXED);
}
inline unsigned atomicExch(unsigned* address, unsigned value) {
  simt::before_atomic(address);
  return __atomic_exchange_n(address, value, __ATOMIC_RELAXED);
}
