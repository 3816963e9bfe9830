// The CUDA kernels on the simulated GPU, for Python: pointers and sizes, as csrc/torch passes them.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "cuda/kernels.h"
#include "runtime/scheduler.h"
#if defined(SIMT_TRACE)
#include "runtime/trace.h"
#endif

namespace py = pybind11;
using namespace wgan_fast;

namespace {

using Address = uintptr_t;

template <class T>
T* pointer(Address address) {
  return reinterpret_cast<T*>(address);
}

struct Input {
  Address data;
  int64_t stride;

  template <class T>
  Rows<const T> rows() const {
    return {pointer<const T>(data), stride};
  }
};

// `given` or `device_seed` may be 0.
struct EpsilonSource {
  Address given;
  uint64_t seed;
  Address device_seed;
  int64_t first_sample;

  template <class T>
  Epsilon<T> of() const {
    return {pointer<const compute_t<T>>(given), seed, pointer<const uint64_t>(device_seed),
            first_sample};
  }
};

struct Settings {
  double target;
  bool one_sided;
  double power;
  double scale;
  bool reduce;

  PenaltyTerm<double> term() const { return {target, power, one_sided}; }
};

struct Size {
  std::string dtype;
  int64_t batch;
  int64_t dim;
  unsigned max_blocks;

  cuda::Launch launch() const { return {nullptr, max_blocks}; }
};

template <class F>
auto with_element_type(const Size& size, F f) {
  if (size.dtype == "float32") return f(float{});
  if (size.dtype == "float64") return f(double{});
  if (size.dtype == "float16") return f(Half{});
  if (size.dtype == "bfloat16") return f(BFloat16{});
  throw py::value_error("no kernels for " + size.dtype);
}

void interpolate(const Size& size, Input real, Input fake, Address out, EpsilonSource epsilon) {
  with_element_type(size, [&](auto zero) {
    using T = decltype(zero);
    cuda::interpolate(InterpolateArgs<T>{real.rows<T>(), fake.rows<T>(), pointer<T>(out),
                                         epsilon.of<T>(), size.batch, size.dim},
                      size.launch());
  });
}

void interpolate_backward(const Size& size, Input grad, Address grad_real, Address grad_fake,
                          EpsilonSource epsilon) {
  with_element_type(size, [&](auto zero) {
    using T = decltype(zero);
    cuda::interpolate_backward(
        InterpolateBackwardArgs<T>{grad.rows<T>(), pointer<T>(grad_real), pointer<T>(grad_fake),
                                   epsilon.of<T>(), size.batch, size.dim},
        size.launch());
  });
}

template <class T>
NormPenaltyArgs<T> norm_penalty_args(const Size& size, Input gradients, Address penalty,
                                     Address norms, const Settings& settings) {
  using C = compute_t<T>;
  return {gradients.rows<T>(), pointer<C>(penalty), pointer<C>(norms), settings.term(),
          settings.scale,      settings.reduce,     size.batch,        size.dim};
}

size_t workspace_bytes(const Size& size, Input gradients, const Settings& settings) {
  return with_element_type(size, [&](auto zero) {
    return cuda::norm_penalty_workspace_bytes(
        norm_penalty_args<decltype(zero)>(size, gradients, 0, 0, settings));
  });
}

void norm_penalty(const Size& size, Input gradients, Address penalty, Address norms,
                  const Settings& settings, Address memory, Address ticket) {
  with_element_type(size, [&](auto zero) {
    cuda::norm_penalty(norm_penalty_args<decltype(zero)>(size, gradients, penalty, norms, settings),
                       {pointer<void>(memory), pointer<unsigned>(ticket)}, size.launch());
  });
}

void norm_penalty_backward(const Size& size, Input gradients, Address norms, Address grad_penalty,
                           Address grad_norms, Address out, const Settings& settings) {
  with_element_type(size, [&](auto zero) {
    using T = decltype(zero);
    using C = compute_t<T>;
    cuda::norm_penalty_backward(
        NormPenaltyBackwardArgs<T>{gradients.rows<T>(), pointer<const C>(norms),
                                   pointer<const C>(grad_penalty), pointer<const C>(grad_norms),
                                   pointer<T>(out), settings.term(), settings.scale,
                                   settings.reduce, size.batch, size.dim},
        size.launch());
  });
}

#if defined(SIMT_TRACE)
py::dict to_dict(const simt::Traffic& traffic) {
  return py::dict(py::arg("requests") = traffic.requests, py::arg("bytes") = traffic.bytes,
                  py::arg("sectors") = traffic.sectors,
                  py::arg("least_sectors") = traffic.least_sectors,
                  py::arg("vector_bytes") = traffic.vector_bytes);
}

py::dict to_dict(const simt::LaunchTrace& trace) {
  return py::dict(py::arg("kernel") = trace.kernel, py::arg("blocks") = trace.blocks,
                  py::arg("threads") = trace.threads, py::arg("read") = to_dict(trace.read),
                  py::arg("written") = to_dict(trace.written),
                  py::arg("shared_requests") = trace.shared_requests,
                  py::arg("bank_conflicts") = trace.bank_conflicts);
}

py::list take_traces() {
  py::list result;
  for (const simt::LaunchTrace& trace : simt::take_traces()) result.append(to_dict(trace));
  return result;
}
#endif

}  // namespace

PYBIND11_MODULE(SIMT_MODULE, m) {
  py::class_<Input>(m, "Input").def(py::init<Address, int64_t>());
  py::class_<EpsilonSource>(m, "EpsilonSource")
      .def(py::init<Address, uint64_t, Address, int64_t>());
  py::class_<Settings>(m, "Settings").def(py::init<double, bool, double, double, bool>());
  py::class_<Size>(m, "Size").def(py::init<std::string, int64_t, int64_t, unsigned>());
  m.def("interpolate", interpolate);
  m.def("interpolate_backward", interpolate_backward);
  m.def("workspace_bytes", workspace_bytes);
  m.def("norm_penalty", norm_penalty);
  m.def("norm_penalty_backward", norm_penalty_backward);
  m.def("set_order", simt::set_order, "0: forward, 1: reverse, others: random seeds");
  m.def("take_launches", [] {
    py::list result;
    for (const simt::LaunchRecord& launch : simt::take_launches()) {
      result.append(py::make_tuple(launch.kernel, launch.blocks, launch.threads));
    }
    return result;
  });
#if defined(SIMT_TRACE)
  m.def("watch",
        [](Address memory, size_t bytes) { simt::watch(pointer<const void>(memory), bytes); });
  m.def("stop_watching", simt::stop_watching);
  m.def("take_traces", take_traces);
#endif
}
