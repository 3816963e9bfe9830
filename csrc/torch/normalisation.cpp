// The backward pass of a normalisation and its double backward, as PyTorch sees them: check,
// allocate, pass pointers on. x is contiguous, rstd says how many rows it has.
#include <optional>
#include <tuple>

#include "backends.h"
#include "tensors.h"

namespace wgan_fast {
namespace {

using Optional = std::optional<Tensor>;

void check_like(const Tensor& a, const char* name, const Tensor& x) {
  check_rows(a, name);
  check_same(x, "x", a, name);
  STD_TORCH_CHECK(a.is_contiguous(), name, " must be contiguous");
}

// How x is cut into rows, and how these are scaled.
struct Cut {
  int64_t rows, size, groups, run, weights;

  Cut(const Tensor& x, const Optional& mean, const Tensor& rstd, const Optional& weight,
      int64_t groups, int64_t run)
      : rows(rstd.numel()), size(0), groups(groups), run(run), weights(0) {
    STD_TORCH_CHECK(x.dim() >= 1, "x must have a batch dimension, but it is 0-dimensional");
    STD_TORCH_CHECK(x.is_contiguous(), "x must be contiguous");
    STD_TORCH_CHECK(x.numel() > 0, "x must not be empty");
    STD_TORCH_CHECK(rows > 0 && x.numel() % rows == 0, "rstd must have a number for each row of x");
    size = x.numel() / rows;
    STD_TORCH_CHECK(groups >= 1 && rows % groups == 0, "groups must divide the rows of x");
    STD_TORCH_CHECK(run >= 1 && size % run == 0, "run must divide the size of a row");
    weights = groups * (size / run);
    const ScalarType dtype = compute_dtype(x);
    check_vector(rstd, "rstd", x, dtype, rows);
    if (mean) check_vector(*mean, "mean", x, dtype, rows);
    if (weight) check_vector(*weight, "weight", x, dtype, weights);
  }

  template <class T>
  NormalisedRows<T> of(const Tensor& x, const Optional& mean, const Tensor& rstd,
                       const Optional& weight) const {
    using C = compute_t<T>;
    return {data<const T>(x),
            mean ? data<const C>(*mean) : nullptr,
            data<const C>(rstd),
            weight ? data<const C>(*weight) : nullptr,
            rows,
            size,
            groups,
            run};
  }
};

template <class Backend>
std::tuple<Tensor, Tensor, Tensor> normalisation_backward(const Tensor& grad_y, const Tensor& x,
                                                          const Optional& mean, const Tensor& rstd,
                                                          const Optional& weight, int64_t groups,
                                                          int64_t run, bool to_x, bool to_weight) {
  const Cut cut(x, mean, rstd, weight, groups, run);
  check_like(grad_y, "grad_y", x);
  Backend on(x);
  const ScalarType dtype = compute_dtype(x);
  Tensor grad_x = to_x ? on.empty_packed_like(x) : on.empty_vector(0, x.scalar_type());
  Tensor grad_weight = on.empty_vector(to_weight ? cut.weights : 0, dtype);
  Tensor grad_bias = on.empty_vector(to_weight ? cut.weights : 0, dtype);
  with_element_type(x, "x", [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    using C = compute_t<T>;
    on(NormalisationBackwardArgs<T>{
        cut.of<T>(x, mean, rstd, weight), data<const T>(grad_y), to_x ? data<T>(grad_x) : nullptr,
        to_weight ? data<C>(grad_weight) : nullptr, to_weight ? data<C>(grad_bias) : nullptr});
  });
  return {grad_x, grad_weight, grad_bias};
}

template <class Backend>
std::tuple<Tensor, Tensor, Tensor> normalisation_double_backward(
    const Tensor& tangent, const Tensor& grad_y, const Tensor& x, const Optional& mean,
    const Tensor& rstd, const Optional& weight, const Optional& tangent_weight,
    const Optional& tangent_bias, int64_t groups, int64_t run, bool to_weight) {
  const Cut cut(x, mean, rstd, weight, groups, run);
  check_like(tangent, "tangent", x);
  check_like(grad_y, "grad_y", x);
  const ScalarType dtype = compute_dtype(x);
  STD_TORCH_CHECK(tangent_weight.has_value() == tangent_bias.has_value(),
                  "tangent_weight and tangent_bias must be given together");
  STD_TORCH_CHECK(weight || !tangent_weight, "tangent_weight must not be given without weight");
  if (tangent_weight) {
    check_vector(*tangent_weight, "tangent_weight", x, dtype, cut.weights);
    check_vector(*tangent_bias, "tangent_bias", x, dtype, cut.weights);
  }
  Backend on(x);
  Tensor grad_grad_y = on.empty_packed_like(x);
  Tensor grad_x = on.empty_packed_like(x);
  Tensor grad_weight = on.empty_vector(to_weight ? cut.weights : 0, dtype);
  with_element_type(x, "x", [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    using C = compute_t<T>;
    on(NormalisationDoubleBackwardArgs<T>{
        cut.of<T>(x, mean, rstd, weight), data<const T>(tangent), data<const T>(grad_y),
        tangent_weight ? data<const C>(*tangent_weight) : nullptr,
        tangent_bias ? data<const C>(*tangent_bias) : nullptr, data<T>(grad_grad_y),
        data<T>(grad_x), to_weight ? data<C>(grad_weight) : nullptr});
  });
  return {grad_grad_y, grad_x, grad_weight};
}

template <class Backend>
void register_operators(Library& library) {
  library.impl("normalisation_backward", TORCH_BOX(&normalisation_backward<Backend>));
  library.impl("normalisation_double_backward", TORCH_BOX(&normalisation_double_backward<Backend>));
}

}  // namespace
}  // namespace wgan_fast

WGAN_FAST_REGISTER(wgan_fast::register_operators)
