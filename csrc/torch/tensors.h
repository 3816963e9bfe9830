// What the operators need of tensors, in PyTorch's stable ABI: checks, memory, pointers.
#pragma once

#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>

#include <string>
#include <type_traits>
#include <vector>

#include "../common/arguments.h"

// Its name in the headers of torch 2.11.
#ifndef STABLE_TORCH_ERROR_CODE_CHECK
#define STABLE_TORCH_ERROR_CODE_CHECK TORCH_ERROR_CODE_CHECK
#endif

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

// The elements that lie one behind the other in the dimensions from `first` on, in any order.
inline int64_t dense_elements(const Tensor& x, int64_t first) {
  const auto sizes = x.sizes();
  const auto strides = x.strides();
  int64_t reached = 1;  // elements covered by the dimensions found so far, innermost first
  for (bool grown = true; grown;) {
    grown = false;
    for (int64_t d = first; d < x.dim(); ++d) {
      if (sizes[d] == 1 || strides[d] != reached) continue;
      reached *= sizes[d];
      grown = true;
    }
  }
  return reached;
}

// A row is one sample: one uninterrupted piece of memory, its dimensions in any order.
inline bool is_rows(const Tensor& x) {
  return x.is_contiguous() || dense_elements(x, 1) == shape_of(x).dim;
}

// The same of the whole tensor.
inline bool is_one_piece(const Tensor& x) {
  return x.is_contiguous() || dense_elements(x, 0) == x.numel();
}

inline void check_rows(const Tensor& x, const char* name) {
  STD_TORCH_CHECK(x.dim() >= 1, name, " must have a batch dimension, but it is 0-dimensional");
  STD_TORCH_CHECK(is_rows(x), name,
                  " must hold each sample in one dense piece of memory; call .contiguous() on it");
}

// How a tensor is named in errors, in Python's words.

inline std::string name_of(ScalarType dtype) {
  switch (dtype) {
    case ScalarType::Double:
      return "torch.float64";
    case ScalarType::Float:
      return "torch.float32";
    case ScalarType::Half:
      return "torch.float16";
    case ScalarType::BFloat16:
      return "torch.bfloat16";
    case ScalarType::Int:
      return "torch.int32";
    case ScalarType::Long:
      return "torch.int64";
    default:
      return torch::headeronly::toString(dtype);
  }
}

inline std::string device_of(const Tensor& x) {
  if (x.is_cpu()) return "cpu";
  const auto type = x.device().type();
  if (type == torch::headeronly::DeviceType::Meta) return "meta";
  const std::string kind =
      x.is_cuda() ? "cuda" : "device type " + std::to_string(static_cast<int>(type));
  return kind + ":" + std::to_string(x.get_device_index());
}

template <class Numbers>
std::string list_of(const Numbers& numbers) {
  std::string text;
  for (const int64_t number : numbers) text += (text.empty() ? "" : ", ") + std::to_string(number);
  return "[" + text + "]";
}

// Two tensors must be alike, and lie alike from the dimension `first` on.
inline void check_same(const Tensor& a, const char* a_name, const Tensor& b, const char* b_name,
                       int64_t first = 1) {
  const auto as = a.sizes();
  const auto bs = b.sizes();
  bool same_shape = a.dim() == b.dim();
  for (int64_t d = 0; same_shape && d < a.dim(); ++d) same_shape = as[d] == bs[d];
  STD_TORCH_CHECK(same_shape, a_name, " and ", b_name, " must have the same shape, but they have ",
                  list_of(as), " and ", list_of(bs));
  STD_TORCH_CHECK(a.scalar_type() == b.scalar_type(), a_name, " and ", b_name,
                  " must have the same dtype, but they have ", name_of(a.scalar_type()), " and ",
                  name_of(b.scalar_type()), "; convert one of them");
  STD_TORCH_CHECK(a.device() == b.device(), a_name, " and ", b_name,
                  " must be on the same device, but they are on ", device_of(a), " and ",
                  device_of(b), "; move one of them");
  bool lie_alike = true;
  for (int64_t d = first; lie_alike && d < a.dim(); ++d) {
    lie_alike = as[d] == 1 || a.stride(d) == b.stride(d);
  }
  STD_TORCH_CHECK(lie_alike, a_name, " and ", b_name, " must have the same ",
                  first == 0 ? "strides" : "inner strides", ", but they have ",
                  list_of(a.strides()), " and ", list_of(b.strides()),
                  "; call .contiguous() on both");
}

inline void check_vector(const Tensor& v, const char* name, const Tensor& x, ScalarType dtype,
                         int64_t size) {
  STD_TORCH_CHECK(v.numel() == size, name, " must have ", size, " elements, but its shape is ",
                  list_of(v.sizes()));
  STD_TORCH_CHECK(v.is_contiguous(), name, " must be contiguous, but its strides are ",
                  list_of(v.strides()), "; call ", name, ".contiguous()");
  STD_TORCH_CHECK(v.scalar_type() == dtype, name, " must be ", name_of(dtype), ", but it is ",
                  name_of(v.scalar_type()), "; convert it with ", name, ".to(", name_of(dtype),
                  ")");
  STD_TORCH_CHECK(v.device() == x.device(), name, " must be on the device of the samples, ",
                  device_of(x), ", but it is on ", device_of(v), "; move it with ", name, ".to('",
                  device_of(x), "')");
}

inline ScalarType compute_dtype(const Tensor& x) {
  return x.scalar_type() == ScalarType::Double ? ScalarType::Double : ScalarType::Float;
}

// Where one call of an operator runs, and finds memory: beside its samples. A backend is a class
// derived from this one, whose operator()(args) runs the kernel that takes these arguments.
class Runner {
 public:
  explicit Runner(const Tensor& samples) : samples_(samples) {}
  virtual ~Runner() = default;

  // A tensor laid out like x, which is one piece of memory.
  Tensor empty_like(const Tensor& x) const {
    return empty(x.dim(), x.sizes().data(), x.strides().data(), x.scalar_type());
  }
  // A tensor whose samples are laid out like x's, one directly behind the other.
  Tensor empty_packed_like(const Tensor& x) const {
    std::vector<int64_t> strides(x.strides().begin(), x.strides().end());
    strides[0] = shape_of(x).dim;
    return empty(x.dim(), x.sizes().data(), strides.data(), x.scalar_type());
  }
  Tensor empty_vector(int64_t size, ScalarType dtype) const {
    const int64_t stride = 1;
    return empty(1, &size, &stride, dtype);
  }
  Tensor empty_number(ScalarType dtype) const { return empty(0, nullptr, nullptr, dtype); }

 protected:
  virtual Tensor empty(int64_t dim, const int64_t* sizes, const int64_t* strides,
                       ScalarType dtype) const {
    int32_t device_type;
    STABLE_TORCH_ERROR_CODE_CHECK(aoti_torch_get_device_type(samples_.get(), &device_type));
    const auto code = torch::stable::detail::to<int32_t>(torch::stable::detail::from(dtype));
    AtenTensorHandle handle;
    STABLE_TORCH_ERROR_CODE_CHECK(aoti_torch_empty_strided(dim, sizes, strides, code, device_type,
                                                           samples_.get_device_index(), &handle));
    return Tensor(handle);
  }

  const Tensor& samples_;
};

template <class T>
Rows<const T> rows(const Tensor& x) {
  return {static_cast<const T*>(x.const_data_ptr()), x.stride(0)};
}

// Of what is only read, the constant pointer: to ask for the other is to have a tensor copied that
// shares its memory until it is written to.
template <class T>
T* data(const Tensor& x) {
  if constexpr (std::is_const_v<T>) {
    return static_cast<T*>(x.const_data_ptr());
  } else {
    return static_cast<T*>(x.mutable_data_ptr());
  }
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
                      name_of(x.scalar_type()));
  }
}

}  // namespace wgan_fast
