// What the kernels of normalisations must return, in plain loops of long double, and how far off it
// may be: so many roundings of the magnitudes that are added up.
#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

namespace wgan_fast {

struct Rough {
  long double value = 0;
  long double magnitude = 0;

  Rough() = default;
  Rough(long double value) : value(value), magnitude(std::fabs(value)) {}
  Rough(long double value, long double magnitude) : value(value), magnitude(magnitude) {}
  Rough& operator+=(const Rough& other) { return *this = *this + other; }
  friend Rough operator+(const Rough& a, const Rough& b) {
    return {a.value + b.value, a.magnitude + b.magnitude};
  }
  friend Rough operator-(const Rough& a, const Rough& b) {
    return {a.value - b.value, a.magnitude + b.magnitude};
  }
  friend Rough operator*(const Rough& a, const Rough& b) {
    return {a.value * b.value, a.magnitude * b.magnitude};
  }
};

// How rows are normalised: shared by all elements of a call.
struct RowShape {
  int64_t rows, size, groups, run;

  int64_t weights() const { return groups * (size / run); }
  int64_t weight_of(int64_t row, int64_t i) const { return row % groups * (size / run) + i / run; }
};

// x, grad_y and the tangent are numbers of a row in turn, all others as in the arguments.
struct NormalisationTextbook {
  std::vector<Rough> grad_x, grad_weight, grad_bias;                    // backward
  std::vector<Rough> double_grad_y, double_grad_x, double_grad_weight;  // double backward

  template <class X, class C>
  NormalisationTextbook(const RowShape& shape, X x, X grad_y, X tangent, const C* mean,
                        const C* rstd, const C* weight, const C* a, const C* b)
      : grad_x(shape.rows * shape.size),
        grad_weight(shape.weights()),
        grad_bias(shape.weights()),
        double_grad_y(shape.rows * shape.size),
        double_grad_x(shape.rows * shape.size),
        double_grad_weight(shape.weights()) {
    using Row = std::vector<Rough>;
    const int64_t size = shape.size;
    for (int64_t row = 0; row < shape.rows; ++row) {
      const Rough r(rstd[row]);
      Row n(size), g(size), v(size), h(size);
      for (int64_t i = 0; i < size; ++i) {
        const int64_t k = row * size + i, j = shape.weight_of(row, i);
        n[i] = Rough((x(k) - (mean ? mean[row] : 0.0L)) * rstd[row]);
        g[i] = Rough(grad_y(k)) * Rough(weight ? weight[j] : 1.0L);
        v[i] = Rough(tangent(k));
        h[i] = Rough(grad_y(k)) * Rough(a ? a[j] : 0.0L);
      }
      const auto mean_of = [&](const Row& p, const Row* q) {
        Rough sum;
        for (int64_t i = 0; i < size; ++i) sum += q ? p[i] * (*q)[i] : p[i];
        return sum * Rough(1.0L / size);
      };
      const auto project = [&](const Row& p) {
        const Rough bar = mean ? mean_of(p, nullptr) : Rough();
        const Rough along = mean_of(p, &n);
        Row out(size);
        for (int64_t i = 0; i < size; ++i) out[i] = p[i] - bar - n[i] * along;
        return out;
      };
      const Row of_g = project(g), of_v = project(v), of_h = project(h);
      const Rough e = mean_of(v, &n), c = mean_of(g, &n);
      const Rough q = mean_of(v, &of_g) + Rough(0, 2 * e.magnitude * c.magnitude);
      for (int64_t i = 0; i < size; ++i) {
        const int64_t k = row * size + i, j = shape.weight_of(row, i);
        const Rough w(weight ? weight[j] : 1.0L), grad(grad_y(k));
        const Rough a_i(a ? a[j] : 0.0L), b_i(b ? b[j] : 0.0L);
        grad_x[k] = r * of_g[i];
        grad_weight[j] += grad * n[i];
        grad_bias[j] += grad;
        double_grad_y[k] = w * r * of_v[i] + a_i * n[i] + b_i;
        double_grad_x[k] = Rough() - r * r * (q * n[i] + e * of_g[i] + c * of_v[i]) + r * of_h[i];
        double_grad_weight[j] += grad * r * of_v[i];
      }
    }
  }
};

}  // namespace wgan_fast
