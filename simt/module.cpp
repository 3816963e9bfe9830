// The simulated GPU for Python. The operators are PyTorch's, in a namespace that has the name of
// this module (backends.h); here is what a test says to the GPU, and asks of it.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "runtime/scheduler.h"
#include "torch/backends.h"
#if defined(SIMT_TRACE)
#include "runtime/trace.h"
#endif

namespace py = pybind11;

namespace {

void configure(unsigned max_blocks, int64_t shift, bool seed_in_memory) {
  wgan_fast::switches = {max_blocks, shift, seed_in_memory};
}

py::list take_launches() {
  py::list result;
  for (const simt::LaunchRecord& launch : simt::take_launches()) {
    result.append(py::make_tuple(launch.kernel, launch.blocks, launch.threads));
  }
  return result;
}

#if defined(SIMT_TRACE)
void watch(uintptr_t memory, size_t bytes) {
  simt::watch(reinterpret_cast<const void*>(memory), bytes);
}

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
  m.def("configure", configure);
  m.def("set_order", simt::set_order, "0: forward, 1: reverse, others: random seeds");
  m.def("take_launches", take_launches);
#if defined(SIMT_TRACE)
  m.def("watch", watch);
  m.def("stop_watching", simt::stop_watching);
  m.def("take_traces", take_traces);
#endif
}
