// The CPU kernels as seen from outside.
#pragma once

#include <cstdint>

#include "../common/arguments.h"

namespace wgan_fast {

// How the host runs body(begin, end, context) over [0, count) on its threads, in ranges of at least
// `grain`. No result may depend on how it cuts.
using ParallelFor = void (*)(int64_t count, int64_t grain, void (*body)(int64_t, int64_t, void*),
                             void* context);

// Outputs larger than the caches are written past them, to the same bits: more than 32 MiB, or than
// the environment variable WGAN_FAST_CPU_CACHE says, in bytes.
template <class T>
void interpolate(const InterpolateArgs<T>& args, ParallelFor parallel_for);
template <class T>
void interpolate_backward(const InterpolateBackwardArgs<T>& args, ParallelFor parallel_for);
template <class T>
void norm_penalty(const NormPenaltyArgs<T>& args, ParallelFor parallel_for);
template <class T>
void norm_penalty_backward(const NormPenaltyBackwardArgs<T>& args, ParallelFor parallel_for);

// The instruction set in use: "avx512", "avx2" or "baseline". The best that the processor has, or
// what the environment variable WGAN_FAST_CPU_CAPABILITY says, if the processor has that.
const char* cpu_capability();

}  // namespace wgan_fast
