// The ops as PyTorch sees them, for any backend: check, allocate, pass pointers on.
//
// A backend is a class with one static function for each kernel of common/arguments.h, and
// `Scope`, which is alive while they run (device guard and stream on a GPU).
// Shapes: `[B, *]` for samples, `[B]` for epsilon, norms and unreduced penalties.
#pragma once

#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>

#include <optional>
#include <tuple>
#include <vector>

#include "../common/arguments.h"

namespace wgan_fast {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

struct Shape {
  int64_t batch;
  int64_t dim;
};

inline Shape shape_of(const Tensor& x) {
  const int64_t batch = x.size(0);
  return {batch, batch == 0 ? 0 : x.numel() / batch};
}

// A row is one sample: one uninterrupted piece of memory, its dimensions in any order.
inline bool is_rows(const Tensor& x) {
  if (x.is_contiguous()) return true;
  const auto sizes = x.sizes();
  const auto strides = x.strides();
  int64_t reached = 1;  // elements covered by the dimensions found so far, innermost first
  for (bool grown = true; grown;) {
    grown = false;
    for (int64_t d = 1; d < x.dim(); ++d) {
      if (sizes[d] == 1 || strides[d] != reached) continue;
      reached *= sizes[d];
      grown = true;
    }
  }
  return reached == shape_of(x).dim;
}

inline void check_rows(const Tensor& x, const char* name) {
  STD_TORCH_CHECK(x.dim() >= 1, name, " must have a batch dimension, but it is 0-dimensional");
  STD_TORCH_CHECK(is_rows(x), name,
                  " must hold each sample in one dense piece of memory; call .contiguous() on it");
}

inline void check_same(const Tensor& a, const char* a_name, const Tensor& b, const char* b_name) {
  const auto as = a.sizes();
  const auto bs = b.sizes();
  bool same = a.dim() == b.dim() && a.scalar_type() == b.scalar_type() && a.device() == b.device();
  for (int64_t d = 0; same && d < a.dim(); ++d) {
    same = as[d] == bs[d] && (d == 0 || as[d] == 1 || a.stride(d) == b.stride(d));
  }
  STD_TORCH_CHECK(same, a_name, " and ", b_name,
                  " must have the same shape, dtype, device and inner strides");
}

inline void check_vector(const Tensor& v, const char* name, const Tensor& x, ScalarType dtype,
                         int64_t size) {
  STD_TORCH_CHECK(v.numel() == size && v.is_contiguous(), name, " must be contiguous with ", size,
                  " elements, but it has ", v.numel());
  STD_TORCH_CHECK(v.scalar_type() == dtype, name, " has the wrong dtype");
  STD_TORCH_CHECK(v.device() == x.device(), name, " is on another device than the samples");
}

inline ScalarType compute_dtype(const Tensor& x) {
  return x.scalar_type() == ScalarType::Double ? ScalarType::Double : ScalarType::Float;
}

inline Tensor empty(const Tensor& like, int64_t dim, const int64_t* sizes, const int64_t* strides,
                    ScalarType dtype) {
  int32_t device_type;
  STABLE_TORCH_ERROR_CODE_CHECK(aoti_torch_get_device_type(like.get(), &device_type));
  const auto dtype_code = torch::stable::detail::to<int32_t>(torch::stable::detail::from(dtype));
  AtenTensorHandle handle;
  STABLE_TORCH_ERROR_CODE_CHECK(aoti_torch_empty_strided(
      dim, sizes, strides, dtype_code, device_type, like.get_device_index(), &handle));
  return Tensor(handle);
}

// A tensor whose samples are laid out like x's, one directly behind the other.
inline Tensor empty_packed_like(const Tensor& x) {
  std::vector<int64_t> strides(x.strides().begin(), x.strides().end());
  strides[0] = shape_of(x).dim;
  return empty(x, x.dim(), x.sizes().data(), strides.data(), x.scalar_type());
}

inline Tensor empty_vector(const Tensor& like, int64_t size) {
  const int64_t stride = 1;
  return empty(like, 1, &size, &stride, compute_dtype(like));
}

template <class T>
Rows<const T> rows(const Tensor& x) {
  return {static_cast<const T*>(x.const_data_ptr()), x.stride(0)};
}

template <class T>
T* data(const Tensor& x) {
  return static_cast<T*>(x.mutable_data_ptr());
}

// Calls f with a null pointer of the element type of x.
template <class F>
void with_element_type(const Tensor& x, const char* name, F f) {
  switch (x.scalar_type()) {
    case ScalarType::Float:
      return f(static_cast<float*>(nullptr));
    case ScalarType::Double:
      return f(static_cast<double*>(nullptr));
    case ScalarType::Half:
      return f(static_cast<Half*>(nullptr));
    case ScalarType::BFloat16:
      return f(static_cast<BFloat16*>(nullptr));
    default:
      STD_TORCH_CHECK(false, name, " must be float64, float32, float16 or bfloat16, but it is ",
                      torch::headeronly::toString(x.scalar_type()));
  }
}

// epsilon as given, `[B]`.
struct GivenEpsilon {
  const Tensor& epsilon;

  void check(const Tensor& x) const {
    check_vector(epsilon, "epsilon", x, compute_dtype(x), x.size(0));
  }
  template <class T>
  Epsilon<T> of() const {
    return {static_cast<const compute_t<T>*>(epsilon.const_data_ptr()), 0, nullptr, 0};
  }
};

// epsilon drawn from a seed, an int64 scalar on the CPU or beside the samples.
struct DrawnEpsilon {
  const Tensor& seed;
  int64_t first_sample;

  void check(const Tensor& x) const {
    STD_TORCH_CHECK(seed.numel() == 1 && seed.scalar_type() == ScalarType::Long,
                    "seed must be one int64 number");
    STD_TORCH_CHECK(seed.is_cpu() || seed.device() == x.device(),
                    "seed must be on the CPU or on the device of the samples");
  }
  template <class T>
  Epsilon<T> of() const {
    const auto* value = static_cast<const uint64_t*>(seed.const_data_ptr());
    if (seed.is_cpu()) return {nullptr, *value, nullptr, first_sample};
    return {nullptr, 0, value, first_sample};
  }
};

template <class Backend, class Source>
Tensor interpolate_from(const Tensor& real, const Tensor& fake, const Source& epsilon) {
  check_rows(real, "real");
  check_rows(fake, "fake");
  check_same(real, "real", fake, "fake");
  epsilon.check(real);
  Tensor out = empty_packed_like(real);
  const auto [batch, dim] = shape_of(real);
  with_element_type(real, "real", [&, batch = batch, dim = dim](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    if (batch * dim == 0) return;
    typename Backend::Scope scope(real);
    scope.interpolate(InterpolateArgs<T>{rows<T>(real), rows<T>(fake), data<T>(out),
                                         epsilon.template of<T>(), batch, dim});
  });
  return out;
}

template <class Backend, class Source>
std::tuple<Tensor, Tensor> interpolate_backward_from(const Tensor& grad, const Source& epsilon) {
  check_rows(grad, "grad");
  epsilon.check(grad);
  Tensor grad_real = empty_packed_like(grad);
  Tensor grad_fake = empty_packed_like(grad);
  const auto [batch, dim] = shape_of(grad);
  with_element_type(grad, "grad", [&, batch = batch, dim = dim](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    if (batch * dim == 0) return;
    typename Backend::Scope scope(grad);
    scope.interpolate_backward(InterpolateBackwardArgs<T>{rows<T>(grad), data<T>(grad_real),
                                                          data<T>(grad_fake),
                                                          epsilon.template of<T>(), batch, dim});
  });
  return {grad_real, grad_fake};
}

template <class Backend>
Tensor interpolate_op(const Tensor& real, const Tensor& fake, const Tensor& epsilon) {
  return interpolate_from<Backend>(real, fake, GivenEpsilon{epsilon});
}

template <class Backend>
Tensor random_interpolate_op(const Tensor& real, const Tensor& fake, const Tensor& seed,
                             int64_t first_sample) {
  return interpolate_from<Backend>(real, fake, DrawnEpsilon{seed, first_sample});
}

template <class Backend>
std::tuple<Tensor, Tensor> interpolate_backward_op(const Tensor& grad, const Tensor& epsilon) {
  return interpolate_backward_from<Backend>(grad, GivenEpsilon{epsilon});
}

template <class Backend>
std::tuple<Tensor, Tensor> random_interpolate_backward_op(const Tensor& grad, const Tensor& seed,
                                                          int64_t first_sample) {
  return interpolate_backward_from<Backend>(grad, DrawnEpsilon{seed, first_sample});
}

template <class Backend>
std::tuple<Tensor, Tensor> norm_penalty_op(const Tensor& gradients, double target, bool one_sided,
                                           double power, double scale, bool reduce) {
  check_rows(gradients, "gradients");
  const auto [batch, dim] = shape_of(gradients);
  STD_TORCH_CHECK(batch * dim > 0, "gradients must not be empty");
  Tensor norms = empty_vector(gradients, batch);
  Tensor penalty = reduce ? empty(gradients, 0, nullptr, nullptr, compute_dtype(gradients))
                          : empty_vector(gradients, batch);
  with_element_type(gradients, "gradients", [&, batch = batch, dim = dim](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    typename Backend::Scope scope(gradients);
    scope.norm_penalty(NormPenaltyArgs<T>{rows<T>(gradients),
                                          data<compute_t<T>>(penalty),
                                          data<compute_t<T>>(norms),
                                          {target, power, one_sided},
                                          scale,
                                          reduce,
                                          batch,
                                          dim});
  });
  return {penalty, norms};
}

template <class Backend>
Tensor norm_penalty_backward_op(const Tensor& gradients, const Tensor& norms,
                                const Tensor& grad_penalty, const std::optional<Tensor>& grad_norms,
                                double target, bool one_sided, double power, double scale,
                                bool reduce) {
  check_rows(gradients, "gradients");
  const auto [batch, dim] = shape_of(gradients);
  const ScalarType dtype = compute_dtype(gradients);
  check_vector(norms, "norms", gradients, dtype, batch);
  check_vector(grad_penalty, "grad_penalty", gradients, dtype, reduce ? 1 : batch);
  if (grad_norms) check_vector(*grad_norms, "grad_norms", gradients, dtype, batch);
  Tensor out = empty_packed_like(gradients);
  with_element_type(gradients, "gradients", [&, batch = batch, dim = dim](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    using C = compute_t<T>;
    if (batch * dim == 0) return;
    typename Backend::Scope scope(gradients);
    scope.norm_penalty_backward(
        NormPenaltyBackwardArgs<T>{rows<T>(gradients),
                                   data<const C>(norms),
                                   data<const C>(grad_penalty),
                                   grad_norms ? data<const C>(*grad_norms) : nullptr,
                                   data<T>(out),
                                   {target, power, one_sided},
                                   scale,
                                   reduce,
                                   batch,
                                   dim});
  });
  return out;
}

// Registers every op of this file for one backend; the schemas are defined in Python.
template <class Backend>
void register_ops(torch::stable::detail::StableLibrary& library) {
  library.impl("interpolate", TORCH_BOX(&interpolate_op<Backend>));
  library.impl("interpolate_backward", TORCH_BOX(&interpolate_backward_op<Backend>));
  library.impl("random_interpolate", TORCH_BOX(&random_interpolate_op<Backend>));
  library.impl("random_interpolate_backward", TORCH_BOX(&random_interpolate_backward_op<Backend>));
  library.impl("norm_penalty", TORCH_BOX(&norm_penalty_op<Backend>));
  library.impl("norm_penalty_backward", TORCH_BOX(&norm_penalty_backward_op<Backend>));
}

}  // namespace wgan_fast
