// The CUDA kernels under a sanitizer: runs every kernel on batches that reach every path, and
// compares with plain loops in double.
//
//   simulated_gpu few|all [order]      exit code 1: a wrong result; 2: an error of the simulated
//   GPU
//
// Buffers are exactly as large as they may be used, so that the sanitizer sees every overrun.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "common/philox.h"
#include "cuda/kernels.h"
#include "cuda/number.cuh"
#include "runtime/scheduler.h"
#if defined(SIMT_TRACE)
#include "runtime/trace.h"
#endif

using namespace wgan_fast;
using cuda::narrow;
using cuda::widen;

namespace {

constexpr uint64_t kSeed = 0x123456789abcdef;
constexpr int64_t kFirstSample = int64_t{1} << 33;

struct Case {
  int64_t batch;
  int64_t dim;
  int64_t shift;  // of the first element from an aligned address, in elements
  int64_t gap;    // between rows
  unsigned max_blocks;
};

// Under the race detector a grid has at most 4 blocks: with many fibers it forgets some.
const std::vector<Case> kFew = {
    {3, 2, 0, 0, 4},    {9, 5, 1, 2, 3},    {70, 40, 0, 0, 4},  {2, 2100, 0, 0, 2},
    {3, 2100, 1, 1, 2}, {1, 8300, 0, 0, 4}, {2, 9001, 3, 2, 4},
};
const std::vector<Case> kAll = {
    {1, 1, 0, 0, 9},     {5, 1, 1, 2, 9},     {3, 2, 0, 0, 9},     {130, 2, 0, 0, 9},
    {67, 3, 0, 0, 9},    {9, 5, 0, 0, 9},     {3, 37, 0, 0, 9},    {3, 37, 1, 0, 9},
    {3, 37, 2, 0, 9},    {3, 37, 3, 0, 9},    {3, 37, 4, 0, 9},    {3, 37, 5, 0, 9},
    {3, 37, 7, 0, 9},    {2, 40, 1, 3, 9},    {4, 8, 0, 8, 9},     {300, 7, 0, 0, 2},
    {40, 130, 0, 0, 1},  {2, 1024, 0, 0, 9},  {2, 2049, 0, 0, 9},  {3, 2500, 1, 1, 9},
    {7, 2100, 0, 0, 2},  {1, 8200, 0, 0, 9},  {2, 9001, 3, 2, 9},  {3, 16392, 0, 0, 9},
    {3, 20000, 0, 0, 2}, {1, 60001, 1, 0, 9}, {2, 12345, 1, 0, 1},
};

int failures = 0;

template <class T>
constexpr double kRelative = 1e-6;
template <>
constexpr double kRelative<double> = 1e-14;
template <>
constexpr double kRelative<Half> = 1e-3;
template <>
constexpr double kRelative<BFloat16> = 8e-3;

void compare(const char* what, const Case& c, size_t size, double got, double want, double scale,
             double relative) {
  if (std::fabs(got - want) <= relative * (std::fabs(want) + scale)) return;
  if (++failures > 10) return;
  std::printf("WRONG %s (element of %zu bytes, batch %ld of %ld): %.17g instead of %.17g\n", what,
              size, static_cast<long>(c.batch), static_cast<long>(c.dim), got, want);
}

// Exactly `size` elements, full of NaN. `shift` more come before them, so that they are misaligned.
template <class T>
struct Buffer {
  explicit Buffer(int64_t size, int64_t shift = 0) : shift(shift), memory(size + shift) {
    std::memset(memory.data(), 0xff, memory.size() * sizeof(T));
  }
  T* data() { return memory.data() + shift; }

  int64_t shift;
  std::vector<T> memory;
};

template <class T>
struct Batch {
  explicit Batch(const Case& c, unsigned seed)
      : stride(c.dim + c.gap), buffer((c.batch - 1) * stride + c.dim, c.shift) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    for (int64_t b = 0; b < c.batch; ++b) {
      for (int64_t i = 0; i < c.dim; ++i) at(b, i) = narrow<T>(normal(random));
    }
  }
  T& at(int64_t b, int64_t i) { return buffer.data()[b * stride + i]; }
  Rows<const T> rows() { return {buffer.data(), stride}; }

  int64_t stride;
  Buffer<T> buffer;
};

template <class T>
void check_interpolate(const Case& c, const cuda::Launch& launch) {
  Batch<T> real(c, 1), fake(c, 2);
  Buffer<T> out(c.batch * c.dim), grad_real(c.batch * c.dim), grad_fake(c.batch * c.dim);
  const uint64_t seed = kSeed;
  const Epsilon<T> epsilon = {nullptr, 0, &seed, kFirstSample};
  cuda::run(InterpolateArgs<T>{real.rows(), fake.rows(), out.data(), epsilon, c.batch, c.dim},
            launch);
  cuda::run(InterpolateBackwardArgs<T>{real.rows(), grad_real.data(), grad_fake.data(), epsilon,
                                       c.batch, c.dim},
            launch);
  for (int64_t b = 0; b < c.batch; ++b) {
    const double e = uniform_epsilon(seed, kFirstSample + b);
    for (int64_t i = 0; i < c.dim; ++i) {
      const double r = widen(real.at(b, i));
      const double f = widen(fake.at(b, i));
      const auto check = [&](const char* what, T* data, double want) {
        compare(what, c, sizeof(T), widen(data[b * c.dim + i]), want, 1, kRelative<T>);
      };
      check("interpolate", out.data(), e * r + (1 - e) * f);
      check("grad_real", grad_real.data(), e * r);
      check("grad_fake", grad_fake.data(), (1 - e) * r);
    }
  }
}

template <class T>
void check_norm_penalty(const Case& c, const cuda::Launch& launch, float factor) {
  using C = compute_t<T>;
  Batch<T> x(c, 3);
  for (int64_t i = 0; i < c.dim; ++i) x.at(0, i) = narrow<T>(factor * widen(x.at(0, i)));
  Buffer<C> norms(c.batch), penalty(1);
  Buffer<T> out(c.batch * c.dim);
  const NormPenaltyArgs<T> args = {x.rows(), penalty.data(), norms.data(), {1, 2, false},
                                   0.5,      true,           c.batch,      c.dim};
  cuda::run(args, launch);
  const C grad_penalty = 1;
  cuda::run(NormPenaltyBackwardArgs<T>{x.rows(),
                                       norms.data(),
                                       &grad_penalty,
                                       norms.data(),
                                       out.data(),
                                       {1, 2, false},
                                       0.5,
                                       true,
                                       c.batch,
                                       c.dim},
            launch);

  double total = 0;
  for (int64_t b = 0; b < c.batch; ++b) {
    long double sum = 0;
    for (int64_t i = 0; i < c.dim; ++i)
      sum += std::pow(static_cast<long double>(widen(x.at(b, i))), 2);
    const double norm = std::sqrt(sum);
    total += 0.5 * (norm - 1) * (norm - 1);
    compare("norm", c, sizeof(T), norms.data()[b], norm, 0, kRelative<C>);
    const double factor_of_row = norm == 0 ? 0 : ((norm - 1) + norm) / norm;
    for (int64_t i = 0; i < c.dim; ++i) {
      compare("gradient", c, sizeof(T), widen(out.data()[b * c.dim + i]),
              factor_of_row * widen(x.at(b, i)), 1, kRelative<T>);
    }
  }
  compare("penalty", c, sizeof(T), *penalty.data(), total, 1, kRelative<C>);
}

// SiLU, whose derivatives are those of x s with s' = s (1 - s).
template <class T>
void check_activation_gradients(const Case& c, const cuda::Launch& launch) {
  const int64_t size = c.batch * c.dim;
  const Case flat = {1, size, c.shift, 0, c.max_blocks};
  Batch<T> x(flat, 4), grad(flat, 5), tangent(flat, 6), a(flat, 7), b(flat, 8);
  Buffer<T> of_grad(size), of_x(size), to_x(size), to_grad(size), to_tangent(size, c.shift);
  cuda::run(ActivationGradientsArgs<T>{x.buffer.data(),
                                       grad.buffer.data(),
                                       tangent.buffer.data(),
                                       of_grad.data(),
                                       of_x.data(),
                                       Activation::silu,
                                       {},
                                       size},
            launch);
  cuda::run(ActivationGradientsBackwardArgs<T>{x.buffer.data(),
                                               grad.buffer.data(),
                                               tangent.buffer.data(),
                                               a.buffer.data(),
                                               b.buffer.data(),
                                               to_x.data(),
                                               to_grad.data(),
                                               to_tangent.data(),
                                               Activation::silu,
                                               {},
                                               size},
            launch);
  for (int64_t i = 0; i < size; ++i) {
    const double z = widen(x.at(0, i)), g = widen(grad.at(0, i)), t = widen(tangent.at(0, i));
    const double s = 1 / (1 + std::exp(-z)), p = s * (1 - s), p1 = p * (1 - 2 * s);
    const double first = s + z * p, second = 2 * p + z * p1;
    const double third = 3 * p1 + z * p * (1 - 6 * p);
    const double for_grad = widen(a.at(0, i)), for_x = widen(b.at(0, i));
    const auto check = [&](const char* what, T* data, double want) {
      compare(what, c, sizeof(T), widen(data[i]), want, 1 + std::fabs(want), kRelative<T>);
    };
    check("of_grad", of_grad.data(), t * first);
    check("of_x", of_x.data(), t * g * second);
    check("to_x", to_x.data(), t * (for_grad * second + for_x * g * third));
    check("to_grad", to_grad.data(), t * for_x * second);
    check("to_tangent", to_tangent.data(), for_grad * first + for_x * g * second);
  }
}
}  // namespace

#include "normalisation.h"

namespace {

// What the kernels of one case need besides their arguments.
struct Host {
  std::vector<unsigned char> memory;
  std::unique_ptr<unsigned> ticket = std::make_unique<unsigned>(0);

  static cuda::Workspace workspace(size_t bytes, void* self) {
    auto& host = *static_cast<Host*>(self);
    host.memory.assign(bytes, 0xff);
    return {host.memory.data(), host.ticket.get()};
  }
};

template <class T>
void check(const Case& c) {
  Host host;
  const cuda::Launch launch = {nullptr, Host::workspace, &host, c.max_blocks};
  check_interpolate<T>(c, launch);
  check_activation_gradients<T>(c, launch);
  check_norm_penalty<T>(c, launch, 1);
  check_norm_penalty<T>(c, launch, 0);  // the first row is summed again
  check_normalisations<T>(c, launch);
  if (*host.ticket != 0 && ++failures) std::printf("WRONG ticket: %u is left\n", *host.ticket);
}

#if defined(SIMT_TRACE)
// The rest of the tracing is tested from Python; this is for a debugger.
int check_traffic() {
  const Case c = {16, 2048, 0, 0, 9};
  Batch<float> real(c, 1), fake(c, 2);
  Buffer<float> out(c.batch * c.dim);
  const uint64_t bytes = c.batch * c.dim * sizeof(float);
  for (const float* array : {real.buffer.data(), fake.buffer.data(), out.data()}) {
    simt::watch(array, bytes);
  }
  cuda::run(InterpolateArgs<float>{real.rows(),
                                   fake.rows(),
                                   out.data(),
                                   {nullptr, kSeed, nullptr, kFirstSample},
                                   c.batch,
                                   c.dim},
            {nullptr, nullptr, nullptr, c.max_blocks});
  const simt::LaunchTrace trace = simt::take_traces().at(0);
  std::printf("%s reads %lu and writes %lu bytes\n", trace.kernel.c_str(),
              static_cast<unsigned long>(trace.read.bytes),
              static_cast<unsigned long>(trace.written.bytes));
  return trace.read.bytes == 2 * bytes && trace.written.bytes == bytes ? 0 : 1;
}
#endif

}  // namespace

int main(int count, char** arguments) {
  const std::string which = count > 1 ? arguments[1] : "";
#if defined(SIMT_TRACE)
  if (which == "traffic") return check_traffic();
#endif
  if (which != "few" && which != "all") {
    std::printf("usage: simulated_gpu few|all [order], or traffic when traced\n");
    return 64;
  }
  simt::set_order(count > 2 ? std::atoi(arguments[2]) : 0);
  try {
    for (const Case& c : which == "few" ? kFew : kAll) {
      check<float>(c);
#if !defined(SIMT_FLOAT_ONLY)
      check<double>(c);
      check<Half>(c);
      check<BFloat16>(c);
#endif
    }
  } catch (const std::exception& error) {
    std::printf("%s\n", error.what());
    return 2;
  }
  if (failures == 0) std::printf("all right\n");
  return failures == 0 ? 0 : 1;
}
