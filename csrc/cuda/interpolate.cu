// random_interpolate and interpolate: a random point between each real and fake sample.
//
//   out[b, i]       = fma(epsilon_b, real[b, i], fma(-epsilon_b, fake[b, i], fake[b, i]))
//   grad_real[b, i] = epsilon_b * grad[b, i],   grad_fake[b, i] = (1 - epsilon_b) * grad[b, i]
//
// Source: Gulrajani et al., arXiv 1704.00028, algorithm 1 lines 5 and 6.
// Thread mapping: map_rows.cuh. epsilon_b is drawn by each thread that meets row b: 10 rounds of
// Philox in registers cost less than the 48 bytes of one packet.
// Traffic: forward reads 2N and writes N elements, backward reads N and writes 2N.
#include "../common/philox.h"
#include "map_rows.cuh"

namespace wgan_fast {
namespace cuda {
namespace {

template <class T>
__device__ compute_t<T> epsilon_of(const Epsilon<T>& epsilon, int64_t b) {
  if (epsilon.given != nullptr) return epsilon.given[b];
  const uint64_t seed = epsilon.device_seed != nullptr ? *epsilon.device_seed : epsilon.seed;
  return uniform_epsilon(seed, static_cast<uint64_t>(epsilon.first_sample + b));
}

template <class T>
struct Interpolate {
  using Type = T;
  using Factor = compute_t<T>;
  static constexpr int inputs = 2;
  static constexpr int outputs = 1;
  Rows<const T> in[inputs];  // real, fake
  T* out[outputs];
  Epsilon<T> epsilon;

  __device__ Factor row(int64_t b) const { return epsilon_of(epsilon, b); }
  __device__ void apply(Factor factor, const Factor* x, Factor* y) const {
    y[0] = multiply_add(factor, x[0], multiply_add(-factor, x[1], x[1]));
  }
};

template <class T>
struct InterpolateBackward {
  using Type = T;
  using Factor = compute_t<T>;
  static constexpr int inputs = 1;
  static constexpr int outputs = 2;
  Rows<const T> in[inputs];
  T* out[outputs];  // grad_real, grad_fake
  Epsilon<T> epsilon;

  __device__ Factor row(int64_t b) const { return epsilon_of(epsilon, b); }
  __device__ void apply(Factor factor, const Factor* x, Factor* y) const {
    y[0] = factor * x[0];
    y[1] = (1 - factor) * x[0];
  }
};

}  // namespace

template <class T>
cudaError_t run(const InterpolateArgs<T>& args, const Launch& launch) {
  const Interpolate<T> op = {{args.real, args.fake}, {args.out}, args.epsilon};
  return launch_map_rows(op, args.batch, args.dim, launch);
}

template <class T>
cudaError_t run(const InterpolateBackwardArgs<T>& args, const Launch& launch) {
  const InterpolateBackward<T> op = {{args.grad}, {args.grad_real, args.grad_fake}, args.epsilon};
  return launch_map_rows(op, args.batch, args.dim, launch);
}

WGAN_FAST_FOR_EACH_TYPE(WGAN_FAST_CUDA_KERNEL, InterpolateArgs)
WGAN_FAST_FOR_EACH_TYPE(WGAN_FAST_CUDA_KERNEL, InterpolateBackwardArgs)

}  // namespace cuda
}  // namespace wgan_fast
