// activation_gradients, as PyTorch sees it: check, allocate, pass pointers on.
// All tensors have one shape, and their elements the same order in one piece of memory.
#include <string>
#include <tuple>
#include <vector>

#include "backends.h"
#include "tensors.h"

namespace wgan_fast {
namespace {

// The activations by the names that wgan_fast/ops/_activations.py has, and how many parameters
// each is given.
struct Known {
  const char* name;
  Activation activation;
  size_t parameters;
};
constexpr Known kKnown[] = {
    {"silu", Activation::silu, 0},
    {"gelu", Activation::gelu, 0},
    {"gelu_tanh", Activation::gelu_tanh, 0},
    {"softplus", Activation::softplus, 2},
    {"tanh", Activation::tanh, 0},
    {"sigmoid", Activation::sigmoid, 0},
    {"elu", Activation::elu, 3},
    {"mish", Activation::mish, 0},
    {"hardswish", Activation::hardswish, 0},
    {"log_sigmoid", Activation::log_sigmoid, 0},
    {"softsign", Activation::softsign, 0},
};

// Writes an activation and its parameters into the arguments of a kernel.
template <class Args>
void set_activation(Args& args, const std::string& name, const std::vector<double>& parameters) {
  for (const Known& known : kKnown) {
    if (name != known.name) continue;
    STD_TORCH_CHECK(parameters.size() == known.parameters, "parameters of '", name, "' must be ",
                    known.parameters, ", but there are ", parameters.size());
    args.activation = known.activation;
    for (size_t i = 0; i < parameters.size(); ++i) args.parameters[i] = parameters[i];
    return;
  }
  STD_TORCH_CHECK(false, "there is no activation '", name, "'");
}

void check_alike(const Tensor& x, const Tensor& other, const char* name) {
  check_same(x, "x", other, name, 0);
}

void check_one_piece(const Tensor& x) {
  STD_TORCH_CHECK(is_one_piece(x), "x must be one dense piece of memory; call .contiguous() on it");
}

template <class Backend>
std::tuple<Tensor, Tensor> activation_gradients(const Tensor& x, const Tensor& grad,
                                                const Tensor& tangent, std::string activation,
                                                std::vector<double> parameters) {
  check_one_piece(x);
  check_alike(x, grad, "grad");
  check_alike(x, tangent, "tangent");
  Backend run(x);
  Tensor of_grad = run.empty_like(x);
  Tensor of_x = run.empty_like(x);
  with_element_type(x, "x", [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    ActivationGradientsArgs<T> args = {data<const T>(x),
                                       data<const T>(grad),
                                       data<const T>(tangent),
                                       data<T>(of_grad),
                                       data<T>(of_x),
                                       {},
                                       {},
                                       x.numel()};
    set_activation(args, activation, parameters);
    if (args.size > 0) run(args);
  });
  return {of_grad, of_x};
}

template <class Backend>
std::tuple<Tensor, Tensor, Tensor> activation_gradients_backward(
    const Tensor& x, const Tensor& grad, const Tensor& tangent, const Tensor& adjoint_of_grad,
    const Tensor& adjoint_of_x, std::string activation, std::vector<double> parameters) {
  check_one_piece(x);
  check_alike(x, grad, "grad");
  check_alike(x, tangent, "tangent");
  check_alike(x, adjoint_of_grad, "adjoint_of_grad");
  check_alike(x, adjoint_of_x, "adjoint_of_x");
  Backend run(x);
  Tensor to_x = run.empty_like(x);
  Tensor to_grad = run.empty_like(x);
  Tensor to_tangent = run.empty_like(x);
  with_element_type(x, "x", [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    ActivationGradientsBackwardArgs<T> args = {data<const T>(x),
                                               data<const T>(grad),
                                               data<const T>(tangent),
                                               data<const T>(adjoint_of_grad),
                                               data<const T>(adjoint_of_x),
                                               data<T>(to_x),
                                               data<T>(to_grad),
                                               data<T>(to_tangent),
                                               {},
                                               {},
                                               x.numel()};
    set_activation(args, activation, parameters);
    if (args.size > 0) run(args);
  });
  return {to_x, to_grad, to_tangent};
}

template <class Backend>
void register_operators(Library& library) {
  library.impl("activation_gradients", TORCH_BOX(&activation_gradients<Backend>));
  library.impl("activation_gradients_backward", TORCH_BOX(&activation_gradients_backward<Backend>));
}

}  // namespace
}  // namespace wgan_fast

WGAN_FAST_REGISTER(wgan_fast::register_operators)
