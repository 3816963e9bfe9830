// exp(-a) and its relatives for a >= 0, in operations that every compiler turns into vector code
// and that round alike on the host and on the device.
//
// Included inside the namespace of a backend, once for each instruction set: it takes multiply_add
// from there. Every sum of a product is written as one, so that an element has the same bits in a
// vector and in the rest of a loop.
#if defined(WGAN_FAST_INLINE)  // the CPU's
#define WGAN_FAST_FUNCTION WGAN_FAST_INLINE
#else
#define WGAN_FAST_FUNCTION __device__ inline
#endif

// The polynomial of these coefficients, the constant one first.
template <class A>
WGAN_FAST_FUNCTION A polynomial(A, A constant) {
  return constant;
}
template <class A, class... Rest>
WGAN_FAST_FUNCTION A polynomial(A x, A constant, Rest... rest) {
  return multiply_add(x, polynomial(x, rest...), constant);
}

// start * 2^n, where n is what stands in the last bits of `shifted`.
WGAN_FAST_FUNCTION float times_power(float start, float shifted) {
  uint32_t bits, n;
  memcpy(&bits, &start, sizeof bits);
  memcpy(&n, &shifted, sizeof n);
  bits += n << 23;
  memcpy(&start, &bits, sizeof bits);
  return start;
}
WGAN_FAST_FUNCTION double times_power(double start, double shifted) {
  uint64_t bits, n;
  memcpy(&bits, &start, sizeof bits);
  memcpy(&n, &shifted, sizeof n);
  bits += n << 52;
  memcpy(&start, &bits, sizeof bits);
  return start;
}

// What depends on the type: ln 2 in two parts, of which the first has few bits, so that small
// multiples of it are exact; a number so large that what is added to it is rounded to an integer;
// where exp(-a) may come near the subnormal numbers, and how far it is then moved away from them;
// Taylor's series of exp(r) - 1 for |r| <= ln(2) / 2, up to what is below the rounding.
template <class A>
struct DecayOf;
template <>
struct DecayOf<float> {
  static constexpr float ln2_high = 0.693359375f, ln2_low = -2.12194440e-4f;
  static constexpr float shift = 0x1.8p23f;
  static constexpr float far = 64, up = 0x1p64f, down = 0x1p-64f;
  static constexpr float most = 125;

  static WGAN_FAST_FUNCTION float series(float r) {
    return polynomial(r, 1.f, 1 / 2.f, 1 / 6.f, 1 / 24.f, 1 / 120.f, 1 / 720.f, 1 / 5040.f);
  }
};
template <>
struct DecayOf<double> {
  static constexpr double ln2_high = 0.693145751953125, ln2_low = 1.42860682030941723212e-6;
  static constexpr double shift = 0x1.8p52;
  static constexpr double far = 512, up = 0x1p256, down = 0x1p-256;
  static constexpr double most = 800;

  static WGAN_FAST_FUNCTION double series(double r) {
    return polynomial(r, 1., 1 / 2., 1 / 6., 1 / 24., 1 / 120., 1 / 720., 1 / 5040., 1 / 40320.,
                      1 / 362880., 1 / 3628800., 1 / 39916800., 1 / 479001600., 1 / 6227020800.);
  }
};

// exp(-a) = high * low: what is multiplied by `high` first is rounded once where the result is
// subnormal, and not twice. gap = 1 - exp(-a), exact for small a, too.
template <class A>
struct Decay {
  A high;
  A low;
  A gap;
};

// For 0 <= a <= DecayOf<A>::most, where exp(-a), and a thousand times as much, is zero. NaN stays.
template <class A>
WGAN_FAST_FUNCTION Decay<A> decay(A a) {
  using Of = DecayOf<A>;
  const A shifted = multiply_add(-a, A(1.4426950408889634), Of::shift);
  const A n = shifted - Of::shift;
  const A r = multiply_add(n, -Of::ln2_low, multiply_add(n, -Of::ln2_high, -a));
  const A q = r * Of::series(r);  // exp(r) - 1
  const bool is_far = a > Of::far;
  const A power = times_power(is_far ? Of::up : A(1), shifted);
  const A gap = multiply_add(-power, q, 1 - power);
  return {multiply_add(power, q, power), is_far ? Of::down : A(1), is_far ? A(1) : gap};
}

// Mills' ratio for a >= 0: what of the normal distribution lies beyond a, over its density there.
//
//   (a + 4) * mills(a) = polynomial of (a - 4) / (a + 4)
//
// Chebyshev interpolation on [0, 15.5] for float, off by 1.4e-8, and on [0, 39.5] for double, off
// by 3.7e-17; the idea is Shepherd and Laframboise's, "Chebyshev approximation of
// (1 + 2x) exp(x^2) erfc x in 0 <= x < infinity", Mathematics of Computation 36 (1981).
WGAN_FAST_FUNCTION float mills_polynomial(float t) {
  return polynomial(t, 1.8932191f, -1.5237708f, 0.9704078f, -0.4675453f, 0.15141502f, -0.01885937f,
                    -0.008819355f, 0.0039226897f, 0.0004606383f, -0.0003206772f);
}
WGAN_FAST_FUNCTION double mills_polynomial(double t) {
  return polynomial(t, 1.8932190633084853, -1.5237709108199822, 0.970409554867599,
                    -0.4675409629984758, 0.15139176231186718, -0.01890045085725435,
                    -0.0087222952616591, 0.004087855617948829, 0.00033424447200099784,
                    -0.000579268812893131, -4.7822827017337065e-06, 8.809344018031464e-05,
                    1.7921575089814749e-06, -1.4836614659043488e-05, -1.5667917259406925e-06,
                    2.5566073545573367e-06, 6.607726458902041e-07, -3.8713193644123496e-07,
                    -1.9141167985233044e-07, 3.68787309529612e-08, 3.49676741870814e-08,
                    7.637489626096637e-11, -2.462625212300184e-09);
}
template <class A>
WGAN_FAST_FUNCTION A mills(A a) {
  const A inverse = 1 / (a + 4);
  return mills_polynomial(multiply_add(A(-8), inverse, A(1))) * inverse;
}
