// activation_gradients: the second order of a smooth activation, both gradients in one pass.
//
//   of_grad[i] = tangent[i] * f'(x[i]),   of_x[i] = tangent[i] * (grad[i] * f''(x[i]))
//   backward, from the adjoints a of of_grad and b of of_x:
//   to_x[i]       = tangent[i] * (a[i] * f''(x[i]) + b[i] * (grad[i] * f'''(x[i])))
//   to_grad[i]    = tangent[i] * (b[i] * f''(x[i]))
//   to_tangent[i] = a[i] * f'(x[i]) + b[i] * (grad[i] * f''(x[i]))
//
// Source: the derivatives are in common/activations.h.
// Thread mapping: map_elements.cuh; a kernel for each activation.
// Traffic: reads 3N and writes 2N elements; backward reads 5N and writes 3N.
#include "map_elements.cuh"

namespace wgan_fast {
namespace cuda {
namespace {

#include "../common/activations.h"

template <class T, class F>
struct ActivationGradients {
  using Type = T;
  using C = compute_t<T>;
  static constexpr int inputs = 3;
  static constexpr int outputs = 2;
  const T* in[inputs];  // x, grad, tangent
  T* out[outputs];      // of_grad, of_x
  Parameters<C> parameters;

  __device__ void apply(const C* v, C* y) const {
    const Derivatives<C> f = F::at(v[0], parameters);
    y[0] = v[2] * f.first;
    y[1] = v[2] * (v[1] * f.second);
  }
};

template <class T, class F>
struct ActivationGradientsBackward {
  using Type = T;
  using C = compute_t<T>;
  static constexpr int inputs = 5;
  static constexpr int outputs = 3;
  const T* in[inputs];  // x, grad, tangent, adjoint_of_grad, adjoint_of_x
  T* out[outputs];      // to_x, to_grad, to_tangent
  Parameters<C> parameters;

  __device__ void apply(const C* v, C* y) const {
    const Derivatives<C> f = F::at(v[0], parameters);
    const C bent = v[4] * (v[1] * f.third);
    y[0] = v[2] * multiply_add(v[3], f.second, bent);
    y[1] = v[2] * (v[4] * f.second);
    y[2] = multiply_add(v[3], f.first, v[4] * (v[1] * f.second));
  }
};

}  // namespace

template <class T>
cudaError_t run(const ActivationGradientsArgs<T>& args, const Launch& launch) {
  return with_activation(args.activation, [&](auto activation) {
    const ActivationGradients<T, decltype(activation)> op = {
        {args.x, args.grad, args.tangent},
        {args.of_grad, args.of_x},
        to_compute_type<compute_t<T>>(args.parameters)};
    return launch_map_elements(op, args.size, launch);
  });
}

template <class T>
cudaError_t run(const ActivationGradientsBackwardArgs<T>& args, const Launch& launch) {
  return with_activation(args.activation, [&](auto activation) {
    const ActivationGradientsBackward<T, decltype(activation)> op = {
        {args.x, args.grad, args.tangent, args.adjoint_of_grad, args.adjoint_of_x},
        {args.to_x, args.to_grad, args.to_tangent},
        to_compute_type<compute_t<T>>(args.parameters)};
    return launch_map_elements(op, args.size, launch);
  });
}

WGAN_FAST_FOR_EACH_TYPE(WGAN_FAST_CUDA_KERNEL, ActivationGradientsArgs)
WGAN_FAST_FOR_EACH_TYPE(WGAN_FAST_CUDA_KERNEL, ActivationGradientsBackwardArgs)

}  // namespace cuda
}  // namespace wgan_fast
