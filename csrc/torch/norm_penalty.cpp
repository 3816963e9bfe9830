// norm_penalty, as PyTorch sees it: check, allocate, pass pointers on.
// Gradients are `[B, *]`, norms and unreduced penalties are `[B]`.
#include <optional>
#include <tuple>

#include "backends.h"
#include "tensors.h"

namespace wgan_fast {
namespace {

template <class Backend>
std::tuple<Tensor, Tensor> norm_penalty(const Tensor& gradients, double target, bool one_sided,
                                        double power, double scale, bool reduce) {
  check_rows(gradients, "gradients");
  const auto [batch, dim] = shape_of(gradients);
  STD_TORCH_CHECK(batch * dim > 0, "gradients must not be empty");
  const ScalarType dtype = compute_dtype(gradients);
  Backend run(gradients);
  Tensor norms = run.empty_vector(batch, dtype);
  Tensor penalty = reduce ? run.empty_number(dtype) : run.empty_vector(batch, dtype);
  with_element_type(gradients, "gradients", [&, batch = batch, dim = dim](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    run(NormPenaltyArgs<T>{rows<T>(gradients),
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
Tensor norm_penalty_backward(const Tensor& gradients, const Tensor& norms,
                             const Tensor& grad_penalty, const std::optional<Tensor>& grad_norms,
                             double target, bool one_sided, double power, double scale,
                             bool reduce) {
  check_rows(gradients, "gradients");
  const auto [batch, dim] = shape_of(gradients);
  const ScalarType dtype = compute_dtype(gradients);
  check_vector(norms, "norms", gradients, dtype, batch);
  check_vector(grad_penalty, "grad_penalty", gradients, dtype, reduce ? 1 : batch);
  if (grad_norms) check_vector(*grad_norms, "grad_norms", gradients, dtype, batch);
  Backend run(gradients);
  Tensor out = run.empty_packed_like(gradients);
  with_element_type(gradients, "gradients", [&, batch = batch, dim = dim](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    using C = compute_t<T>;
    if (batch * dim == 0) return;
    run(NormPenaltyBackwardArgs<T>{rows<T>(gradients),
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

template <class Backend>
void register_operators(Library& library) {
  library.impl("norm_penalty", TORCH_BOX(&norm_penalty<Backend>));
  library.impl("norm_penalty_backward", TORCH_BOX(&norm_penalty_backward<Backend>));
}

}  // namespace
}  // namespace wgan_fast

WGAN_FAST_REGISTER(wgan_fast::register_operators)
