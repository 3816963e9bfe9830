// The CPU kernels as seen from outside.
#pragma once

#include <cstdint>

#include "../common/arguments.h"

namespace wgan_fast {
namespace cpu {

// How the host runs body(begin, end, context) over [0, count) on its threads, in ranges of at least
// `grain`. No result may depend on how it cuts.
using ParallelFor = void (*)(int64_t count, int64_t grain, void (*body)(int64_t, int64_t, void*),
                             void* context);

#define WGAN_FAST_DECLARE(Args) \
  template <class T>            \
  void run(const Args<T>& args, ParallelFor parallel_for);
WGAN_FAST_FOR_EACH_KERNEL(WGAN_FAST_DECLARE)
#undef WGAN_FAST_DECLARE

// What stands at the end of a kernel's file.
#define WGAN_FAST_CPU_KERNEL(Args, T) template void run<T>(const Args<T>&, ParallelFor);

}  // namespace cpu
}  // namespace wgan_fast
