// How the work of a kernel is cut into ranges for the threads.
#pragma once

#include "kernels.h"
#include "settings.h"

namespace wgan_fast {
namespace cpu {

// Work below this many elements is not worth waking a thread for.
constexpr int64_t kGrain = 32768;

template <class F>
void run_ranges(ParallelFor parallel_for, int64_t count, int64_t grain, F body) {
  parallel_for(
      count, grain,
      [](int64_t begin, int64_t end, void* context) { (*static_cast<F*>(context))(begin, end); },
      &body);
}

// Runs a kernel that computes each of `count` elements by itself and writes `outputs` arrays of
// them.
template <class T, template <class> class Args>
void run_elements(const Args<T>& args, int64_t count, int64_t outputs, ParallelFor parallel_for,
                  void (*kernel)(const Args<T>&, bool past_caches, int64_t begin, int64_t end)) {
  const bool past_caches = count * outputs * static_cast<int64_t>(sizeof(T)) > cache_bytes();
  run_ranges(parallel_for, count, kGrain,
             [&](int64_t begin, int64_t end) { kernel(args, past_caches, begin, end); });
}

}  // namespace cpu
}  // namespace wgan_fast
