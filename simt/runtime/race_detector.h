// What ThreadSanitizer is told: which fiber runs, and what orders memory on a GPU.
//
// Ordered:     __syncthreads among the threads of a block; __syncwarp among those of a warp; a
//              fence, an atomic, and a fence after an atomic of the same address; launches.
// Not ordered: blocks, shuffles and votes, atomics alone.
// Without SIMT_TSAN all of this is nothing.
#pragma once

#include <cstddef>

namespace simt {
namespace race {

#if defined(SIMT_TSAN)
void* new_fiber();
void switch_to(void* fiber);
void switch_to_scheduler();
// Everything before release(x) comes before everything after a later acquire(x).
void release(const void* object);
void acquire(const void* object);
// Addresses to use as such objects: one for every block and `what` (0..39), different until...
void* object_of(size_t block, unsigned what);
// ...the launch is over, and all its fibers with it.
void begin_launch();
void end_launch();
#else
inline void* new_fiber() { return nullptr; }
inline void switch_to(void*) {}
inline void switch_to_scheduler() {}
inline void release(const void*) {}
inline void acquire(const void*) {}
inline void* object_of(size_t, unsigned) { return nullptr; }
inline void begin_launch() {}
inline void end_launch() {}
#endif

}  // namespace race
}  // namespace simt
