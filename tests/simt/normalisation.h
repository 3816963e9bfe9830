// The kernels of normalisations on the simulated GPU; a part of program.cpp.
#pragma once

#include <functional>

#include "../native/normalisation_textbook.h"

namespace {

template <class T>
struct Numbers {
  Numbers(int64_t size, int64_t shift, unsigned seed) : buffer(size, shift) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    for (int64_t i = 0; i < size; ++i) {
      buffer.data()[i] = narrow<T>(static_cast<compute_t<T>>(normal(random)));
    }
  }
  T* data() { return buffer.data(); }
  long double operator[](int64_t i) { return widen(buffer.data()[i]); }

  Buffer<T> buffer;
};

// Backward and double backward of `c.batch` samples of `shape.groups` rows.
template <class T>
void check_normalisation(const Case& c, const RowShape& shape, const cuda::Launch& launch) {
  using C = compute_t<T>;
  const int64_t count = shape.rows * shape.size, weights = shape.weights();
  Numbers<T> x(count, c.shift, 1), grad_y(count, c.shift, 2), tangent(count, c.shift, 3);
  Numbers<C> mean(shape.rows, 0, 4), rstd(shape.rows, 0, 5), weight(weights, 0, 6);
  Numbers<C> a(weights, 0, 7), b(weights, 0, 8);
  for (int64_t r = 0; r < shape.rows; ++r) rstd.data()[r] = C(0.2) + std::fabs(rstd.data()[r]) / 2;
  Buffer<T> grad_x(count, c.shift), double_y(count, c.shift), double_x(count, c.shift);
  Buffer<C> grad_weight(weights), grad_bias(weights), double_weight(weights);
  const NormalisedRows<T> at = {x.data(),   mean.data(), rstd.data(),  weight.data(),
                                shape.rows, shape.size,  shape.groups, shape.run};
  cuda::run(NormalisationBackwardArgs<T>{at, grad_y.data(), grad_x.data(), grad_weight.data(),
                                         grad_bias.data()},
            launch);
  cuda::run(
      NormalisationDoubleBackwardArgs<T>{at, tangent.data(), grad_y.data(), a.data(), b.data(),
                                         double_y.data(), double_x.data(), double_weight.data()},
      launch);
  using X = std::function<long double(int64_t)>;
  const NormalisationTextbook textbook(shape, X([&](int64_t i) { return x[i]; }),
                                       X([&](int64_t i) { return grad_y[i]; }),
                                       X([&](int64_t i) { return tangent[i]; }), mean.data(),
                                       rstd.data(), weight.data(), a.data(), b.data());
  const auto check = [&](const char* what, auto* data, const std::vector<Rough>& wanted) {
    using R = std::remove_pointer_t<decltype(data)>;
    for (size_t i = 0; i < wanted.size(); ++i) {
      compare(what, c, sizeof(T), widen(data[i]), wanted[i].value, wanted[i].magnitude,
              kRelative<R>);
    }
  };
  check("grad_x", grad_x.data(), textbook.grad_x);
  check("grad_weight", grad_weight.data(), textbook.grad_weight);
  check("grad_bias", grad_bias.data(), textbook.grad_bias);
  check("grad_grad_y", double_y.data(), textbook.double_grad_y);
  check("second grad_x", double_x.data(), textbook.double_grad_x);
  check("second grad_weight", double_weight.data(), textbook.double_grad_weight);
}

// A weight for each element; and two groups of weights that each have a run.
template <class T>
void check_normalisations(const Case& c, const cuda::Launch& launch) {
  check_normalisation<T>(c, {c.batch, c.dim, 1, 1}, launch);
  const int64_t run = std::max<int64_t>(1, c.dim / 2);
  check_normalisation<T>(c, {2 * c.batch, 2 * run, 2, run}, launch);
}

}  // namespace
