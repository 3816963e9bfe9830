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

// Rows of `size` elements, each normalised by itself: n = (x - mean) rstd. Row r is group
// r % groups of a sample. The group has a weight for every `run` elements: that of element i is
// weight[(r % groups) * (size / run) + i / run].
template <class T>
struct NormalisedRows {
  const T* x;                  // [rows, size]
  const compute_t<T>* mean;    // [rows], or null for zeros
  const compute_t<T>* rstd;    // [rows]
  const compute_t<T>* weight;  // [groups * size / run], or null for ones
  int64_t rows;
  int64_t size;
  int64_t groups;
  int64_t run;
};

// Results that are null are not computed.
template <class T>
struct NormalisationBackwardArgs {
  NormalisedRows<T> at;
  const T* grad_y;            // [rows, size]
  T* grad_x;                  // [rows, size], or null
  compute_t<T>* grad_weight;  // like at.weight, or null together with grad_bias
  compute_t<T>* grad_bias;
};

template <class T>
struct NormalisationDoubleBackwardArgs {
  NormalisedRows<T> at;
  const T* tangent;                    // of grad_x, [rows, size]
  const T* grad_y;                     // [rows, size]
  const compute_t<T>* tangent_weight;  // of grad_weight, or null for zeros
  const compute_t<T>* tangent_bias;    // of grad_bias, or null for zeros
  T* grad_grad_y;                      // [rows, size]
  T* grad_x;                           // [rows, size]
  compute_t<T>* grad_weight;           // like at.weight, or null
};

}  // namespace wgan_fast

// Every struct that is a kernel's argument, and every type of its elements: F(Args), F(Args, T).
#define WGAN_FAST_FOR_EACH_KERNEL(F) \
  F(InterpolateArgs)                 \
  F(InterpolateBackwardArgs)         \
  F(NormPenaltyArgs)                 \
  F(NormPenaltyBackwardArgs)         \
  F(ActivationGradientsArgs)         \
  F(ActivationGradientsBackwardArgs) \
  F(NormalisationBackwardArgs)       \
  F(NormalisationDoubleBackwardArgs)
#define WGAN_FAST_FOR_EACH_TYPE(F, Args) \
  F(Args, float)                         \
  F(Args, double)                        \
  F(Args, Half)                          \
  F(Args, BFloat16)
