// The kernels of normalisations on memory of exactly the right size; a part of exact_buffers.cpp.
#pragma once

#include <cmath>
#include <functional>
#include <vector>

#include "harness.h"
#include "normalisation_textbook.h"

namespace wgan_fast {

template <class T>
void near_all(Exact<T>& actual, const std::vector<Rough>& expected, double roundings,
              const char* what, const Case& c) {
  for (int64_t i = 0; i < actual.size(); ++i) {
    const Rough& wanted = expected[i];
    // Overflowing halves are infinite; see the contract tests.
    if (std::is_same<T, Half>::value && std::fabs(wanted.value) > 60000) continue;
    const double error = roundings * unit<compute_t<T>>() * wanted.magnitude;
    near(actual.data()[i], wanted.value, error + unit<T>() * std::fabs(wanted.value), what, c);
  }
}

// Both passes, on rows that are cut in one of several ways. Sums are in double: 20 roundings of
// each element in its own type are more than both passes take.
template <class T>
void check_normalisation(const Case& c, const RowShape& shape, bool scaled, bool centred) {
  using C = compute_t<T>;
  const int64_t count = shape.rows * shape.size, weights = shape.weights();
  auto x = random_numbers<T>(count, c.offset, c.seed);
  auto grad_y = random_numbers<T>(count, c.offset, c.seed + 1);
  auto tangent = random_numbers<T>(count, c.offset, c.seed + 2);
  auto mean = random_numbers<C>(shape.rows, 0, c.seed + 3);
  auto rstd = random_numbers<C>(shape.rows, 0, c.seed + 4);
  auto weight = random_numbers<C>(weights, 0, c.seed + 5);
  auto a = random_numbers<C>(weights, 0, c.seed + 6);
  auto b = random_numbers<C>(weights, 0, c.seed + 7);
  for (int64_t r = 0; r < shape.rows; ++r) rstd.data()[r] = std::fabs(rstd.data()[r]) + C(0.1);
  const bool with_tangents = scaled && c.seed % 2 == 0;
  const NormalisedRows<T> at = {x.data(),     centred ? mean.data() : nullptr,
                                rstd.data(),  scaled ? weight.data() : nullptr,
                                shape.rows,   shape.size,
                                shape.groups, shape.run};
  const auto values = [](Exact<T>& of) {
    return [&of](int64_t i) -> long double { return widen(of.data()[i]); };
  };
  using X = std::function<long double(int64_t)>;
  const NormalisationTextbook textbook(
      shape, X(values(x)), X(values(grad_y)), X(values(tangent)), at.mean, at.rstd, at.weight,
      with_tangents ? a.data() : nullptr, with_tangents ? b.data() : nullptr);
  Exact<T> first_x(count, c.offset), first_y(count, c.offset), first_grad(count, c.offset);
  Exact<C> first_weight(weights, 0), first_bias(weights, 0), first_double(weights, 0);
  for (cpu::ParallelFor cut : kCuts) {
    Exact<T> grad_x(count, c.offset), double_y(count, c.offset), double_x(count, c.offset);
    Exact<C> grad_weight(weights, 0), grad_bias(weights, 0), double_weight(weights, 0);
    cpu::run(NormalisationBackwardArgs<T>{at, grad_y.data(), grad_x.data(), grad_weight.data(),
                                          grad_bias.data()},
             cut);
    cpu::run(NormalisationDoubleBackwardArgs<T>{at, tangent.data(), grad_y.data(),
                                                with_tangents ? a.data() : nullptr,
                                                with_tangents ? b.data() : nullptr, double_y.data(),
                                                double_x.data(), double_weight.data()},
             cut);
    if (cut == whole) {
      first_grad = std::move(grad_x), first_y = std::move(double_y), first_x = std::move(double_x);
      first_weight = std::move(grad_weight), first_bias = std::move(grad_bias);
      first_double = std::move(double_weight);
    } else {
      require(grad_x == first_grad && double_y == first_y && double_x == first_x &&
                  grad_weight == first_weight && grad_bias == first_bias &&
                  double_weight == first_double,
              "normalisation depends on the cut", c);
    }
  }
  // Where elements are doubles, sums are no more exact than they.
  const double roundings = 20 + (std::is_same<T, double>::value ? count : 0);
  near_all(first_grad, textbook.grad_x, roundings, "normalisation_backward", c);
  near_all(first_weight, textbook.grad_weight, roundings, "grad_weight", c);
  near_all(first_bias, textbook.grad_bias, roundings, "grad_bias", c);
  near_all(first_y, textbook.double_grad_y, roundings, "double backward, grad_y", c);
  near_all(first_x, textbook.double_grad_x, roundings, "double backward, x", c);
  near_all(first_double, textbook.double_grad_weight, roundings, "double backward, weight", c);
}

// A layer, groups whose weights belong to short and to long runs, few long rows, RMS.
template <class T>
void check_normalisations(unsigned seed) {
  const RowShape shapes[] = {
      {3, 1, 1, 1},     {7, 2, 1, 1},     {5, 37, 1, 1},        {130, 33, 1, 1},
      {6, 12, 2, 3},    {12, 6, 3, 6},    {8, 99, 2, 33},       {40, 64, 4, 64},
      {66, 100, 2, 10}, {2, 20001, 1, 1}, {4, 17000, 2, 17000}, {2, 33000, 1, 16500},
      {3, 16400, 3, 4},
  };
  for (const RowShape& shape : shapes) {
    for (int flags = 0; flags < 4; ++flags) {
      const Case c = {shape.rows, shape.size, shape.size, static_cast<int64_t>(seed % 5), seed};
      check_normalisation<T>(c, shape, flags % 2 == 0, flags / 2 == 0);
      ++seed;
    }
  }
}

}  // namespace wgan_fast
