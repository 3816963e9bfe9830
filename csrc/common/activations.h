// The derivatives of smooth activations: the one place where each of them is written.
//
// Each is a struct with `at(x, parameters)`, which returns f', f'' and f''' at x. What a caller
// does not use is not computed.
//
// Numerics: each value is off by a few roundings of the largest of its summands, and by what moving
// x by a rounding does; for x of any size, infinities included. With a = |x|, everything is made of
// exp(-a), which cannot overflow; what is subnormal is rounded once. The parameters come in the
// order of PyTorch's own functions (aten::elu for elu).
//
// Included inside the namespace of a backend, as decay.h is.
#include "decay.h"

template <class A>
struct Derivatives {
  A first;
  A second;
  A third;
};

template <class A>
struct Parameters {
  A value[kMostParameters];
};

// On the host, everywhere.
template <class A>
Parameters<A> to_compute_type(const double (&values)[kMostParameters]) {
  return {{static_cast<A>(values[0]), static_cast<A>(values[1]), static_cast<A>(values[2])}};
}

// |x|, but no more than `most`. NaN stays.
template <class A>
WGAN_FAST_FUNCTION A magnitude(A x, A most) {
  const A a = fabs(x);
  return a > most ? most : a;
}

// The value of an odd function at x from that at |x|.
template <class A>
WGAN_FAST_FUNCTION A odd(A x, A at_magnitude) {
  return x < 0 ? -at_magnitude : at_magnitude;
}

// The logistic function s at a >= 0, from exp(-a).
template <class A>
struct Logistic {
  A large;       // s(a)
  A small_high;  // s(-a) = 1 - s(a) = small_high * low
  A slope_high;  // s'(a) = s(a) s(-a) = slope_high * low
  A low;
  A lean;  // s(a) - s(-a) = tanh(a / 2)

  WGAN_FAST_FUNCTION A small() const { return small_high * low; }
  WGAN_FAST_FUNCTION A slope() const { return slope_high * low; }
};

template <class A>
WGAN_FAST_FUNCTION Logistic<A> logistic(A a) {
  const Decay<A> e = decay(a);
  const A large = 1 / multiply_add(e.high, e.low, A(1));
  const A small_high = large * e.high;
  return {large, small_high, large * small_high, e.low, e.gap * large};
}

// f = x s(x)
struct Silu {
  template <class A>
  static WGAN_FAST_FUNCTION Derivatives<A> at(A x, const Parameters<A>&) {
    const A a = magnitude(x, DecayOf<A>::most);
    const Logistic<A> s = logistic(a);
    // f'(-a), and 1 - f'(a): s - a s'.
    const A tail = s.small_high * multiply_add(-a, s.large, A(1)) * s.low;
    const A second = s.slope_high * multiply_add(-a, s.lean, A(2)) * s.low;
    const A bent = a * multiply_add(A(-6), s.slope(), A(1));
    const A third = s.slope_high * multiply_add(A(-3), s.lean, bent) * s.low;
    return {x > 0 ? 1 - tail : tail, second, odd(x, third)};
  }
};

// f = x P(x), P the normal distribution: with its density p, f' = P + x p and p' = -x p.
struct Gelu {
  template <class A>
  static WGAN_FAST_FUNCTION Derivatives<A> at(A x, const Parameters<A>&) {
    const A a = magnitude(x, A(sizeof(A) == sizeof(double) ? 39.5 : 15.5));
    const Decay<A> e = decay(A(0.5) * a * a);
    const A density_high = A(0.3989422804014327) * e.high;  // 1 / sqrt(2 pi)
    const A tail = density_high * (mills(a) - a) * e.low;   // f'(-a), and 1 - f'(a)
    const A second = density_high * multiply_add(-a, a, A(2)) * e.low;
    const A third = density_high * a * multiply_add(a, a, A(-4)) * e.low;
    return {x > 0 ? 1 - tail : tail, second, odd(x, third)};
  }
};

// f = x s(v), v = 2 sqrt(2 / pi) (x + 0.044715 x^3): the approximation "tanh" of gelu.
struct GeluTanh {
  template <class A>
  static WGAN_FAST_FUNCTION Derivatives<A> at(A x, const Parameters<A>&) {
    const A a = magnitude(x, A(sizeof(A) == sizeof(double) ? 22 : 11.4));
    const A scale = A(1.5957691216057308), cubic = A(0.07135481627260025);  // scale * 0.044715
    const A v = a * multiply_add(cubic * a, a, scale);
    const A v1 = multiply_add(3 * cubic * a, a, scale), v2 = 6 * cubic * a, v3 = 6 * cubic;
    const Logistic<A> s = logistic(v);
    const A tail = s.small_high * multiply_add(-a * v1, s.large, A(1)) * s.low;
    // The derivatives of s(v) with respect to x, over s'(v).
    const A g2 = multiply_add(-s.lean * v1, v1, v2);
    const A steep = v1 * v1 * multiply_add(A(-6), s.slope(), A(1));
    const A g3 = multiply_add(v1, multiply_add(-3 * s.lean, v2, steep), v3);
    const A second = s.slope_high * multiply_add(a, g2, 2 * v1) * s.low;
    const A third = s.slope_high * multiply_add(a, g3, 3 * g2) * s.low;
    return {x > 0 ? 1 - tail : tail, second, odd(x, third)};
  }
};

// f = log(1 + exp(beta x)) / beta, and x from beta x > threshold on.
struct Softplus {
  template <class A>
  static WGAN_FAST_FUNCTION Derivatives<A> at(A x, const Parameters<A>& parameters) {
    const A beta = parameters.value[0], threshold = parameters.value[1];
    const A z = beta * x;
    const Logistic<A> s = logistic(magnitude(z, DecayOf<A>::most));
    const A second = beta * s.slope_high * s.low;
    const A third = beta * beta * s.slope_high * odd(z, -s.lean) * s.low;
    const A rising = z > 0 ? s.large : s.small();
    return {z > threshold ? A(1) : rising, z >= threshold ? A(0) : second,
            z >= threshold ? A(0) : third};
  }
};

// f = tanh. Here x is its value, f' = 1 - x^2, and f'' and f''' are the derivatives of that with
// respect to x: tanh is known by its result, as in PyTorch, which keeps nothing else.
struct Tanh {
  template <class A>
  static WGAN_FAST_FUNCTION Derivatives<A> at(A x, const Parameters<A>&) {
    return {(1 - x) * (1 + x), -2 * x, A(-2)};
  }
};

// f = s. Known by its value, as tanh is: f' = x (1 - x).
struct Sigmoid {
  template <class A>
  static WGAN_FAST_FUNCTION Derivatives<A> at(A x, const Parameters<A>&) {
    return {x * (1 - x), multiply_add(A(-2), x, A(1)), A(-2)};
  }
};

// f = scale x for x > 0, and scale alpha (exp(input_scale x) - 1) below: elu, celu and selu.
struct Elu {
  template <class A>
  static WGAN_FAST_FUNCTION Derivatives<A> at(A x, const Parameters<A>& parameters) {
    const A scale = parameters.value[1], rate = parameters.value[2];
    const Decay<A> e = decay(magnitude(x > 0 ? A(0) : rate * x, DecayOf<A>::most));
    const A below = parameters.value[0] * scale * rate * e.high;
    return {x > 0 ? scale : below * e.low, x >= 0 ? A(0) : below * rate * e.low,
            x >= 0 ? A(0) : below * rate * rate * e.low};
  }
};

// f = x w, w = tanh(log(1 + exp(x))) = (1 - m^2) / (1 + m^2) with m = s(-x); m' = -m s(x).
struct Mish {
  template <class A>
  static WGAN_FAST_FUNCTION Derivatives<A> at(A x, const Parameters<A>&) {
    const A a = magnitude(x, DecayOf<A>::most);
    const A bounded = odd(x, a);
    const Logistic<A> l = logistic(a);
    const A s = x > 0 ? l.large : l.small(), m = x > 0 ? l.small() : l.large;
    const A r = 1 / multiply_add(m, m, A(1));
    const A xr = bounded * r, square = m * m;
    // w' = 4 m^2 s r^2, and w'' = w' r b.
    const A b = multiply_add(square, multiply_add(A(2), s, m), multiply_add(A(-2), s, m));
    const A low_side = l.small_high * r * multiply_add(4 * square, xr, 1 + m) * l.low;
    const A high_side = multiply_add(square * r, multiply_add(4 * s, xr, A(-2)), A(1));
    // m^2 s without what makes it small, which is multiplied last.
    const A ms_high = 4 * m * l.slope_high * r * r;
    const A second = ms_high * multiply_add(xr, b, A(2)) * l.low;
    const A b1 = -m * s * multiply_add(m, multiply_add(A(4), s, m), A(3));
    const A log_slope = multiply_add(6 * square * s, r, multiply_add(A(-2), s, m));
    const A w3 = multiply_add(log_slope, b, b1);
    const A third = ms_high * r * multiply_add(bounded, w3, 3 * b) * l.low;
    return {x > 0 ? high_side : low_side, second, third};
  }
};

// f = x min(max(x + 3, 0), 6) / 6. Its bends are those of PyTorch's formulas.
struct Hardswish {
  template <class A>
  static WGAN_FAST_FUNCTION Derivatives<A> at(A x, const Parameters<A>&) {
    const A inside = x / 3 + A(0.5);
    const bool is_inside = !(x <= -3) && !(x >= 3);
    return {is_inside ? inside : x > 0 ? A(1) : A(0), is_inside ? A(1) / 3 : A(0), A(0)};
  }
};

// f = log(s)
struct LogSigmoid {
  template <class A>
  static WGAN_FAST_FUNCTION Derivatives<A> at(A x, const Parameters<A>&) {
    const Logistic<A> s = logistic(magnitude(x, DecayOf<A>::most));
    return {x > 0 ? s.small() : s.large, -s.slope(), odd(x, s.slope_high * s.lean * s.low)};
  }
};

// f = x / (1 + |x|). At 0, where f'' jumps, it is 0.
struct Softsign {
  template <class A>
  static WGAN_FAST_FUNCTION Derivatives<A> at(A x, const Parameters<A>&) {
    const A q = 1 / (1 + fabs(x));
    const A square = q * q;
    return {square, x == 0 ? A(0) : odd(x, -2 * square * q), 6 * square * square};
  }
};

// Calls f with one of the structs above.
template <class F>
auto with_activation(Activation activation, F f) {
  switch (activation) {
    case Activation::silu:
      return f(Silu());
    case Activation::gelu:
      return f(Gelu());
    case Activation::gelu_tanh:
      return f(GeluTanh());
    case Activation::softplus:
      return f(Softplus());
    case Activation::tanh:
      return f(Tanh());
    case Activation::sigmoid:
      return f(Sigmoid());
    case Activation::elu:
      return f(Elu());
    case Activation::mish:
      return f(Mish());
    case Activation::hardswish:
      return f(Hardswish());
    case Activation::log_sigmoid:
      return f(LogSigmoid());
    default:
      return f(Softsign());
  }
}
