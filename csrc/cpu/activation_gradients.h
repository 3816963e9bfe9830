// activation_gradients: the second order of a smooth activation, both gradients in one pass.
//
//   of_grad[i] = tangent[i] * f'(x[i]),   of_x[i] = tangent[i] * (grad[i] * f''(x[i]))
//   backward, from the adjoints a of of_grad and b of of_x:
//   to_x[i]       = tangent[i] * (a[i] * f''(x[i]) + b[i] * (grad[i] * f'''(x[i])))
//   to_grad[i]    = tangent[i] * (b[i] * f''(x[i]))
//   to_tangent[i] = a[i] * f'(x[i]) + b[i] * (grad[i] * f''(x[i]))
//
// Source: the derivatives are in common/activations.h.
// Threads: any cut of the elements; every element is computed by itself.
// Traffic: reads 3N and writes 2N elements; backward reads 5N and writes 3N.
//
// Included once for each instruction set, inside that set's namespace.
#include "../common/activations.h"

// Some elements. Functions of their own, not inlined: there the compiler knows that no array
// overlaps another, and the rest is not there once for each activation.
template <class T, class F>
__attribute__((noinline)) void gradients_of(const T* __restrict x, const T* __restrict grad,
                                            const T* __restrict tangent, T* __restrict of_grad,
                                            T* __restrict of_x,
                                            const Parameters<compute_t<T>>& given, int64_t n) {
  const Parameters<compute_t<T>> parameters = given;
  for (int64_t i = 0; i < n; ++i) {
    const auto f = F::at(widen(x[i]), parameters);
    of_grad[i] = narrow<T>(widen(tangent[i]) * f.first);
    of_x[i] = narrow<T>(widen(tangent[i]) * (widen(grad[i]) * f.second));
  }
}

template <class T, class F>
__attribute__((noinline)) void backward_of(const T* __restrict x, const T* __restrict grad,
                                           const T* __restrict tangent,
                                           const T* __restrict adjoint_of_grad,
                                           const T* __restrict adjoint_of_x, T* __restrict to_x,
                                           T* __restrict to_grad, T* __restrict to_tangent,
                                           const Parameters<compute_t<T>>& given, int64_t n) {
  const Parameters<compute_t<T>> parameters = given;
  for (int64_t i = 0; i < n; ++i) {
    const auto f = F::at(widen(x[i]), parameters);
    const auto g = widen(grad[i]), t = widen(tangent[i]);
    const auto a = widen(adjoint_of_grad[i]), b = widen(adjoint_of_x[i]);
    to_x[i] = narrow<T>(t * multiply_add(a, f.second, b * (g * f.third)));
    to_grad[i] = narrow<T>(t * (b * f.second));
    to_tangent[i] = narrow<T>(multiply_add(a, f.first, b * (g * f.second)));
  }
}

template <class T>
void activation_gradients(const ActivationGradientsArgs<T>& args, bool past_caches, int64_t begin,
                          int64_t end) {
  const auto piece = with_activation(
      args.activation, [](auto activation) { return &gradients_of<T, decltype(activation)>; });
  const auto parameters = to_compute_type<compute_t<T>>(args.parameters);
  Output<T> of_grad(args.of_grad, past_caches);
  Output<T> of_x(args.of_x, past_caches);
  for (int64_t at = begin, n; at < end; at += n) {
    n = min(end - at, of_x.most() - at % of_x.most());
    piece(args.x + at, args.grad + at, args.tangent + at, of_grad.open(at), of_x.open(at),
          parameters, n);
    of_grad.close(at, n);
    of_x.close(at, n);
  }
}

template <class T>
void activation_gradients_backward(const ActivationGradientsBackwardArgs<T>& args, bool past_caches,
                                   int64_t begin, int64_t end) {
  const auto piece = with_activation(
      args.activation, [](auto activation) { return &backward_of<T, decltype(activation)>; });
  const auto parameters = to_compute_type<compute_t<T>>(args.parameters);
  Output<T> to_x(args.to_x, past_caches);
  Output<T> to_grad(args.to_grad, past_caches);
  Output<T> to_tangent(args.to_tangent, past_caches);
  for (int64_t at = begin, n; at < end; at += n) {
    n = min(end - at, to_x.most() - at % to_x.most());
    piece(args.x + at, args.grad + at, args.tangent + at, args.adjoint_of_grad + at,
          args.adjoint_of_x + at, to_x.open(at), to_grad.open(at), to_tangent.open(at), parameters,
          n);
    to_x.close(at, n);
    to_grad.close(at, n);
    to_tangent.close(at, n);
  }
}
