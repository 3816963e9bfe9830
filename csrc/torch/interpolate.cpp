// random_interpolate and interpolate, as PyTorch sees them: check, allocate, pass pointers on.
// Samples are `[B, *]`, epsilon is `[B]`.
#include <tuple>

#include "backends.h"
#include "tensors.h"

namespace wgan_fast {
namespace {

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
                    "seed must be one int64 number, such as torch.randint(2**63 - 1, ()), but it "
                    "is a ",
                    name_of(seed.scalar_type()), " tensor of shape ", list_of(seed.sizes()), " on ",
                    device_of(seed));
    STD_TORCH_CHECK(seed.is_cpu() || seed.device() == x.device(),
                    "seed must be on the CPU or on the device of the samples, ", device_of(x),
                    ", but it is on ", device_of(seed), "; move it with seed.cpu()");
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
  Backend run(real);
  Tensor out = run.empty_packed_like(real);
  const auto [batch, dim] = shape_of(real);
  with_element_type(real, "real", [&, batch = batch, dim = dim](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    if (batch * dim == 0) return;
    run(InterpolateArgs<T>{rows<T>(real), rows<T>(fake), data<T>(out), epsilon.template of<T>(),
                           batch, dim});
  });
  return out;
}

template <class Backend, class Source>
std::tuple<Tensor, Tensor> interpolate_backward_from(const Tensor& grad, const Source& epsilon) {
  check_rows(grad, "grad");
  epsilon.check(grad);
  Backend run(grad);
  Tensor grad_real = run.empty_packed_like(grad);
  Tensor grad_fake = run.empty_packed_like(grad);
  const auto [batch, dim] = shape_of(grad);
  with_element_type(grad, "grad", [&, batch = batch, dim = dim](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    if (batch * dim == 0) return;
    run(InterpolateBackwardArgs<T>{rows<T>(grad), data<T>(grad_real), data<T>(grad_fake),
                                   epsilon.template of<T>(), batch, dim});
  });
  return {grad_real, grad_fake};
}

template <class Backend>
Tensor interpolate(const Tensor& real, const Tensor& fake, const Tensor& epsilon) {
  return interpolate_from<Backend>(real, fake, GivenEpsilon{epsilon});
}

template <class Backend>
Tensor random_interpolate(const Tensor& real, const Tensor& fake, const Tensor& seed,
                          int64_t first_sample) {
  return interpolate_from<Backend>(real, fake, DrawnEpsilon{seed, first_sample});
}

template <class Backend>
std::tuple<Tensor, Tensor> interpolate_backward(const Tensor& grad, const Tensor& epsilon) {
  return interpolate_backward_from<Backend>(grad, GivenEpsilon{epsilon});
}

template <class Backend>
std::tuple<Tensor, Tensor> random_interpolate_backward(const Tensor& grad, const Tensor& seed,
                                                       int64_t first_sample) {
  return interpolate_backward_from<Backend>(grad, DrawnEpsilon{seed, first_sample});
}

template <class Backend>
void register_operators(Library& library) {
  library.impl("interpolate", TORCH_BOX(&interpolate<Backend>));
  library.impl("interpolate_backward", TORCH_BOX(&interpolate_backward<Backend>));
  library.impl("random_interpolate", TORCH_BOX(&random_interpolate<Backend>));
  library.impl("random_interpolate_backward", TORCH_BOX(&random_interpolate_backward<Backend>));
}

}  // namespace
}  // namespace wgan_fast

WGAN_FAST_REGISTER(wgan_fast::register_operators)
