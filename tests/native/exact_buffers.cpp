// Runs every CPU kernel on memory of exactly the right size, in many shapes, strides and
// alignments, and compares the results with plain loops in long double.
//
// Built with AddressSanitizer and UndefinedBehaviorSanitizer, a single byte read or written beside
// a buffer ends the program. Built without, it checks the results on any processor or emulator.
// WGAN_FAST_CPU_CAPABILITY chooses the instruction set; the first line of the output tells it.
//
//   exact_buffers             runs the checks; returns 0 when all is well
//   exact_buffers --overrun   reads one element too far, which a sanitizer must notice
#include <cmath>
#include <cstdio>
#include <cstring>

#include "../../csrc/common/philox.h"
#include "harness.h"
#include "normalisation.h"

using namespace wgan_fast;
using cpu::ParallelFor;
using cpu::run;

namespace {

// The mixing factors of a case: given, or drawn.
template <class T>
struct Factors {
  Exact<compute_t<T>> given;
  Epsilon<T> source;

  Factors(const Case& c, bool drawn) : given(c.batch, c.offset % 2), source{} {
    source.seed = 0x9E3779B97F4A7C15u * c.seed;
    source.first_sample = (int64_t{1} << 32) - 3;
    for (int64_t b = 0; b < c.batch; ++b) {
      given.data()[b] =
          uniform_epsilon(source.seed, static_cast<uint64_t>(source.first_sample + b));
    }
    if (!drawn) source.given = given.data();
  }
};

template <class T>
void check_interpolate(const Case& c, bool drawn) {
  auto real = random_numbers<T>(c.extent(), c.offset, c.seed);
  auto fake = random_numbers<T>((c.batch - 1) * (c.dim + 2) + c.dim, c.offset + 1, c.seed + 7);
  Factors<T> factors(c, drawn);
  Exact<T> first(c.batch * c.dim, c.offset);
  for (ParallelFor cut : kCuts) {
    Exact<T> out(c.batch * c.dim, c.offset);
    run(InterpolateArgs<T>{{real.data(), c.stride},
                           {fake.data(), c.dim + 2},
                           out.data(),
                           factors.source,
                           c.batch,
                           c.dim},
        cut);
    if (cut == whole)
      first = std::move(out);
    else
      require(out == first, "interpolate depends on the cut", c);
  }
  const double u = unit<compute_t<T>>();
  for (int64_t b = 0; b < c.batch; ++b) {
    for (int64_t i = 0; i < c.dim; ++i) {
      const long double r = widen(real.data()[b * c.stride + i]);
      const long double f = widen(fake.data()[b * (c.dim + 2) + i]);
      const long double e = factors.given.data()[b];
      const long double expected = e * r + (1 - e) * f;
      const double bound = 3 * u * (std::fabs(r) + std::fabs(f)) + unit<T>() * std::fabs(expected);
      near(first.data()[b * c.dim + i], expected, bound, "interpolate", c);
    }
  }
}

template <class T>
void check_interpolate_backward(const Case& c, bool drawn) {
  auto grad = random_numbers<T>(c.extent(), c.offset, c.seed);
  Factors<T> factors(c, drawn);
  Exact<T> first_real(c.batch * c.dim, c.offset), first_fake(c.batch * c.dim, c.offset);
  for (ParallelFor cut : kCuts) {
    Exact<T> to_real(c.batch * c.dim, c.offset), to_fake(c.batch * c.dim, c.offset);
    run(InterpolateBackwardArgs<T>{{grad.data(), c.stride},
                                   to_real.data(),
                                   to_fake.data(),
                                   factors.source,
                                   c.batch,
                                   c.dim},
        cut);
    if (cut == whole) {
      first_real = std::move(to_real);
      first_fake = std::move(to_fake);
    } else {
      require(to_real == first_real && to_fake == first_fake,
              "interpolate_backward depends on the cut", c);
    }
  }
  const double error = 2 * unit<compute_t<T>>() + unit<T>();
  for (int64_t b = 0; b < c.batch; ++b) {
    for (int64_t i = 0; i < c.dim; ++i) {
      const long double g = widen(grad.data()[b * c.stride + i]);
      const long double e = factors.given.data()[b];
      near(first_real.data()[b * c.dim + i], e * g, error * std::fabs(e * g), "to real", c);
      const long double rest = (1 - e) * g;
      near(first_fake.data()[b * c.dim + i], rest, error * std::fabs(rest), "to fake", c);
    }
  }
}

// Norms of ordinary rows, of rows whose squares leave the range of a double, and of zeros.
template <class T>
void check_norm_penalty(const Case& c, bool reduce) {
  using C = compute_t<T>;
  auto gradients = random_numbers<T>(c.extent(), c.offset, c.seed);
  if (c.seed % 4 != 0) {
    const double magnitude = c.seed % 4 == 1 ? 0 : (c.seed % 4 == 2 ? 1e-170 : 1e170);
    const bool fits = std::is_same<T, double>::value || magnitude == 0;
    for (int64_t i = 0; fits && i < c.extent(); ++i) {
      gradients.data()[i] = narrow<T>(static_cast<C>(widen(gradients.data()[i]) * magnitude));
    }
  }
  const PenaltyTerm<double> term = {1.0, c.seed % 3 == 0 ? 1.5 : 2.0, c.seed % 2 == 0};
  Exact<C> first_norms(c.batch, 0), first_penalty(reduce ? 1 : c.batch, 0);
  for (ParallelFor cut : kCuts) {
    Exact<C> norms(c.batch, 0), penalty(reduce ? 1 : c.batch, 0);
    run(NormPenaltyArgs<T>{{gradients.data(), c.stride},
                           penalty.data(),
                           norms.data(),
                           term,
                           0.5,
                           reduce,
                           c.batch,
                           c.dim},
        cut);
    if (cut == whole) {
      first_norms = std::move(norms);
      first_penalty = std::move(penalty);
    } else {
      require(norms == first_norms && penalty == first_penalty, "norm_penalty depends on the cut",
              c);
    }
  }
  const double relative = (c.dim / 2.0 + 1) * unit<double>();
  long double total = 0, bound = 0;
  for (int64_t b = 0; b < c.batch; ++b) {
    long double sum = 0;
    for (int64_t i = 0; i < c.dim; ++i) {
      const long double x = widen(gradients.data()[b * c.stride + i]);
      sum += x * x;
    }
    const long double n = std::sqrt(sum);
    near(first_norms.data()[b], n, static_cast<double>(n) * (relative + unit<C>()), "norm", c);
    const long double s = term.one_sided ? std::fmax(n - 1, 0.0L) : n - 1;
    const long double expected =
        0.5L * std::pow(std::fabs(s), static_cast<long double>(term.power));
    // How far the term follows an error of the norm, and a few roundings.
    const long double off = n * relative + (n + 1) * unit<double>();
    const long double slope = term.power * std::pow(std::fabs(s) + off, term.power - 1.0L);
    const long double error = slope * off + 12 * unit<double>() * expected;
    total += expected;
    bound += error;
    if (!reduce && expected < 1e300L) {
      near(first_penalty.data()[b], expected, error + unit<C>() * expected, "penalty", c);
    }
  }
  if (reduce && total < 1e300L) {
    bound += (unit<C>() + c.batch * unit<double>()) * total;
    near(first_penalty.data()[0], total, bound, "sum of penalties", c);
  }
}

template <class T>
void check_norm_penalty_backward(const Case& c, bool reduce) {
  using C = compute_t<T>;
  auto gradients = random_numbers<T>(c.extent(), c.offset, c.seed);
  auto norms = random_numbers<C>(c.batch, 0, c.seed + 1);
  for (int64_t b = 0; b < c.batch; ++b) norms.data()[b] = std::fabs(norms.data()[b]) + C(0.01);
  norms.data()[c.batch / 2] = 0;
  auto grad_penalty = random_numbers<C>(reduce ? 1 : c.batch, 0, c.seed + 2);
  auto grad_norms = random_numbers<C>(c.batch, 0, c.seed + 3);
  const bool with_norms = c.seed % 2 == 0;
  const PenaltyTerm<double> term = {1.0, 2.0, false};
  Exact<T> first(c.batch * c.dim, c.offset);
  for (ParallelFor cut : kCuts) {
    Exact<T> out(c.batch * c.dim, c.offset);
    run(NormPenaltyBackwardArgs<T>{{gradients.data(), c.stride},
                                   norms.data(),
                                   grad_penalty.data(),
                                   with_norms ? grad_norms.data() : nullptr,
                                   out.data(),
                                   term,
                                   0.5,
                                   reduce,
                                   c.batch,
                                   c.dim},
        cut);
    if (cut == whole)
      first = std::move(out);
    else
      require(out == first, "norm_penalty_backward depends on the cut", c);
  }
  for (int64_t b = 0; b < c.batch; ++b) {
    const long double n = norms.data()[b];
    const long double p = grad_penalty.data()[reduce ? 0 : b];
    const long double q = with_norms ? grad_norms.data()[b] : C(0);
    const long double steep = std::fabs(p * (n - 1)) + std::fabs(q);
    for (int64_t i = 0; i < c.dim; ++i) {
      const long double x = widen(gradients.data()[b * c.stride + i]);
      const long double expected = n == 0 ? 0 : (p * (n - 1) + q) * (x / n);
      const long double bound = n == 0 ? 0 : 8 * unit<C>() * steep * std::fabs(x / n);
      near(first.data()[b * c.dim + i], expected, bound + unit<T>() * std::fabs(expected),
           "norm_penalty_backward", c);
    }
  }
}

// The derivatives of SiLU, x s with s' = s (1 - s), and of tanh at its value.
struct Bends {
  long double first, second, third;
};
Bends bends_of(Activation activation, long double x) {
  if (activation == Activation::tanh) return {1 - x * x, -2 * x, -2};
  const long double s = 1 / (1 + std::exp(-x)), p = s * (1 - s), p1 = p * (1 - 2 * s);
  return {s + x * p, 2 * p + x * p1, 3 * p1 + x * p * (1 - 6 * p)};
}

// Every summand is at most 4^3 here, as are the numbers that random_numbers makes, and is lost by a
// few roundings; 32 is what tests/ops/operators/activation_gradients.py counts.
template <class T>
void check_activation_gradients(const Case& c, Activation activation) {
  const int64_t size = c.batch * c.dim;
  auto x = random_numbers<T>(size, c.offset, c.seed);
  auto grad = random_numbers<T>(size, c.offset + 1, c.seed + 1);
  auto tangent = random_numbers<T>(size, 0, c.seed + 2);
  auto a = random_numbers<T>(size, c.offset, c.seed + 3);
  auto b = random_numbers<T>(size, 2, c.seed + 4);
  Exact<T> first[5] = {{size, c.offset}, {size, 0}, {size, 1}, {size, 2}, {size, c.offset}};
  for (ParallelFor cut : kCuts) {
    Exact<T> out[5] = {{size, c.offset}, {size, 0}, {size, 1}, {size, 2}, {size, c.offset}};
    run(ActivationGradientsArgs<T>{x.data(),
                                   grad.data(),
                                   tangent.data(),
                                   out[0].data(),
                                   out[1].data(),
                                   activation,
                                   {},
                                   size},
        cut);
    run(ActivationGradientsBackwardArgs<T>{x.data(),
                                           grad.data(),
                                           tangent.data(),
                                           a.data(),
                                           b.data(),
                                           out[2].data(),
                                           out[3].data(),
                                           out[4].data(),
                                           activation,
                                           {},
                                           size},
        cut);
    for (int k = 0; k < 5; ++k) {
      if (cut == whole)
        first[k] = std::move(out[k]);
      else
        require(out[k] == first[k], "activation_gradients depends on the cut", c);
    }
  }
  const double error = 32 * 64 * unit<compute_t<T>>();
  for (int64_t i = 0; i < size; ++i) {
    const Bends f = bends_of(activation, widen(x.data()[i]));
    const long double g = widen(grad.data()[i]), t = widen(tangent.data()[i]);
    const long double for_grad = widen(a.data()[i]), for_x = widen(b.data()[i]);
    const long double expected[5] = {
        t * f.first, t * g * f.second, t * (for_grad * f.second + for_x * g * f.third),
        t * for_x * f.second, for_grad * f.first + for_x * g * f.second};
    for (int k = 0; k < 5; ++k) {
      const double bound = error + 1.01 * unit<T>() * static_cast<double>(std::fabs(expected[k]));
      near(first[k].data()[i], expected[k], bound, "activation_gradients", c);
    }
  }
}

template <class T>
void check_all(const Case& c) {
  const bool is_small = c.batch * c.dim < 3000;  // every element is alike
  if (is_small) check_activation_gradients<T>(c, c.seed % 2 ? Activation::silu : Activation::tanh);
  for (bool flag : {false, true}) {
    check_interpolate<T>(c, flag);
    check_interpolate_backward<T>(c, flag);
    check_norm_penalty<T>(c, flag);
    check_norm_penalty_backward<T>(c, flag);
  }
}

// Around the widths of vector registers, the lanes of the sum, the blocks of rows whose factors are
// drawn at once, and the segments of a long row.
void check_shapes() {
  const int64_t dims[] = {1,  2,  3,  4,  5,  7,  8,   15,  16,   17,    31,    32,
                          33, 47, 63, 64, 65, 96, 129, 257, 1009, 16384, 16385, 32801};
  const int64_t batches[] = {1, 2, 3, 64, 65, 131, 1027, 2049};
  unsigned seed = 0;
  for (int64_t dim : dims) {
    for (int64_t batch : batches) {
      if (batch > 1 && batch * dim > 9000 && !(batch == 2 && dim > 16000)) continue;
      for (int64_t stride : {dim, dim + 3, int64_t{0}, int64_t{1}}) {
        const Case c = {batch, dim, stride, static_cast<int64_t>(seed % 5), seed};
        ++seed;
        check_all<float>(c);
        check_all<double>(c);
        check_all<Half>(c);
        check_all<BFloat16>(c);
      }
    }
  }
}

// tests/kat_vectors of Random123, the library of the generator's authors: "philox4x32 10".
void check_known_answers() {
  // counter, key, result
  const uint32_t answers[][10] = {
      {0, 0, 0, 0, 0, 0, 0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8},
      {0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff,  //
       0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd},
      {0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344, 0xa4093822, 0x299f31d0,  //
       0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1},
  };
  for (const auto& a : answers) {
    const Philox4x32 result = philox4x32_10({a[0], a[1], a[2], a[3]}, a[4], a[5]);
    require(std::memcmp(&result, a + 6, sizeof result) == 0, "philox4x32-10", Case());
  }
}

template <class T>
void check_empty() {
  Exact<T> nothing(0, 0);
  for (ParallelFor cut : kCuts) {
    run(InterpolateArgs<T>{{nothing.data(), 3}, {nothing.data(), 3}, nothing.data(), {}, 0, 3},
        cut);
    run(InterpolateBackwardArgs<T>{{nothing.data(), 3}, nothing.data(), nothing.data(), {}, 0, 3},
        cut);
  }
}

int overrun() {
  Exact<float> gradients(99, 0);
  Exact<float> norms(1, 0), penalty(1, 0);
  run(
      NormPenaltyArgs<float>{
          {gradients.data(), 100}, penalty.data(), norms.data(), {1, 2, false}, 1, true, 1, 100},
      whole);
  std::printf("one element too far, and nobody noticed: %f\n", norms.data()[0]);
  return 0;
}

}  // namespace

int main(int count, char** words) {
  std::printf("%s\n", cpu::name_of(cpu::instruction_set()));
  std::fflush(stdout);
  if (count > 1 && std::strcmp(words[1], "--overrun") == 0) return overrun();
  check_known_answers();
  check_empty<float>();
  check_empty<Half>();
  check_shapes();
  check_normalisations<float>(1);
  check_normalisations<double>(2);
  check_normalisations<Half>(3);
  check_normalisations<BFloat16>(4);
  std::printf("%ld checks\n", checks);
  return 0;
}
