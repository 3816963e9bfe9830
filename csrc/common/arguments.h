// What every backend's kernels take: plain pointers and sizes, no torch. A kernel is an overload of
// run() on one of these structs, in every backend.
//
// A batch is `batch` rows of `dim` elements. Inputs may have any distance `stride` between their
// rows; outputs are packed (distance `dim`).
#pragma once

#include <cstdint>

#include "penalty_term.h"

namespace wgan_fast {

struct Half {
  uint16_t bits;
};
struct BFloat16 {
  uint16_t bits;
};

// The type in which one element is computed, and in which norms and penalties are returned.
template <class T>
struct Compute {
  using type = float;
};
template <>
struct Compute<double> {
  using type = double;
};
template <class T>
using compute_t = typename Compute<T>::type;

template <class T>
struct Rows {
  T* data;
  int64_t stride;
};

// Where the mixing factor of sample b comes from: `given[b]`, or when that is null, drawn for
// sample `first_sample + b` under the seed. A seed that lives on the device is read there, by the
// kernel.
template <class T>
struct Epsilon {
  const compute_t<T>* given;
  uint64_t seed;
  const uint64_t* device_seed;
  int64_t first_sample;
};

template <class T>
struct InterpolateArgs {
  Rows<const T> real;
  Rows<const T> fake;
  T* out;
  Epsilon<T> epsilon;
  int64_t batch;
  int64_t dim;
};

template <class T>
struct InterpolateBackwardArgs {
  Rows<const T> grad;
  T* grad_real;
  T* grad_fake;
  Epsilon<T> epsilon;
  int64_t batch;
  int64_t dim;
};

template <class T>
struct NormPenaltyArgs {
  Rows<const T> gradients;
  compute_t<T>* penalty;  // [1] when reduce, else [batch]
  compute_t<T>* norms;    // [batch]
  PenaltyTerm<double> term;
  double scale;
  bool reduce;
  int64_t batch;
  int64_t dim;
};

template <class T>
struct NormPenaltyBackwardArgs {
  Rows<const T> gradients;
  const compute_t<T>* norms;         // [batch]
  const compute_t<T>* grad_penalty;  // [1] when reduce, else [batch]
  const compute_t<T>* grad_norms;    // [batch], or null
  T* out;
  PenaltyTerm<double> term;
  double scale;
  bool reduce;
  int64_t batch;
  int64_t dim;
};

// The activations whose second order there is, and what they are given besides their input, as
// activations.h has it.
enum class Activation {
  silu,
  gelu,
  gelu_tanh,
  softplus,
  tanh,
  sigmoid,
  elu,
  mish,
  hardswish,
  log_sigmoid,
  softsign
};
constexpr int kMostParameters = 3;

// Arrays of `size` elements, which all lie in memory in the same order.
template <class T>
struct ActivationGradientsArgs {
  const T* x;
  const T* grad;
  const T* tangent;
  T* of_grad;
  T* of_x;
  Activation activation;
  double parameters[kMostParameters];
  int64_t size;
};

template <class T>
struct ActivationGradientsBackwardArgs {
  const T* x;
  const T* grad;
  const T* tangent;
  const T* adjoint_of_grad;
  const T* adjoint_of_x;
  T* to_x;
  T* to_grad;
  T* to_tangent;
  Activation activation;
  double parameters[kMostParameters];
  int64_t size;
};

}  // namespace wgan_fast

// Every struct that is a kernel's argument, and every type of its elements: F(Args), F(Args, T).
#define WGAN_FAST_FOR_EACH_KERNEL(F) \
  F(InterpolateArgs)                 \
  F(InterpolateBackwardArgs)         \
  F(NormPenaltyArgs)                 \
  F(NormPenaltyBackwardArgs)         \
  F(ActivationGradientsArgs)         \
  F(ActivationGradientsBackwardArgs)
#define WGAN_FAST_FOR_EACH_TYPE(F, Args) \
  F(Args, float)                         \
  F(Args, double)                        \
  F(Args, Half)                          \
  F(Args, BFloat16)
