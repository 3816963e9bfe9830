// activation_gradients: activation_gradients.h, for every instruction set and on all threads.
#define WGAN_FAST_LOOPS "activation_gradients.h"
#include "instruction_sets.h"
#include "kernels.h"
#include "ranges.h"

namespace wgan_fast {
namespace cpu {

template <class T>
void run(const ActivationGradientsArgs<T>& args, ParallelFor parallel_for) {
  run_elements(args, args.size, 2, parallel_for, WGAN_FAST_CHOSEN(activation_gradients<T>));
}

template <class T>
void run(const ActivationGradientsBackwardArgs<T>& args, ParallelFor parallel_for) {
  run_elements(args, args.size, 3, parallel_for,
               WGAN_FAST_CHOSEN(activation_gradients_backward<T>));
}

WGAN_FAST_FOR_EACH_TYPE(WGAN_FAST_CPU_KERNEL, ActivationGradientsArgs)
WGAN_FAST_FOR_EACH_TYPE(WGAN_FAST_CPU_KERNEL, ActivationGradientsBackwardArgs)

}  // namespace cpu
}  // namespace wgan_fast
