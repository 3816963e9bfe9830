// random_interpolate and interpolate: interpolate.h, for every instruction set and on all threads.
#define WGAN_FAST_LOOPS "interpolate.h"
#include "instruction_sets.h"
#include "kernels.h"
#include "ranges.h"

namespace wgan_fast {
namespace cpu {

template <class T>
void run(const InterpolateArgs<T>& args, ParallelFor parallel_for) {
  run_elements(args, args.batch * args.dim, 1, parallel_for, WGAN_FAST_CHOSEN(interpolate<T>));
}

template <class T>
void run(const InterpolateBackwardArgs<T>& args, ParallelFor parallel_for) {
  run_elements(args, args.batch * args.dim, 2, parallel_for,
               WGAN_FAST_CHOSEN(interpolate_backward<T>));
}

WGAN_FAST_FOR_EACH_TYPE(WGAN_FAST_CPU_KERNEL, InterpolateArgs)
WGAN_FAST_FOR_EACH_TYPE(WGAN_FAST_CPU_KERNEL, InterpolateBackwardArgs)

}  // namespace cpu
}  // namespace wgan_fast
