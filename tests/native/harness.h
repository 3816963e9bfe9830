// What exact_buffers.cpp is made of: memory of exactly the right size, awkward cuts, comparisons.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <type_traits>

#include "../../csrc/cpu/kernels.h"
#include "../../csrc/cpu/number.h"
#include "../../csrc/cpu/settings.h"

namespace wgan_fast {

inline long checks = 0;

// `size` elements with nothing behind them, beginning `offset` elements after an aligned address.
template <class T>
class Exact {
 public:
  Exact(int64_t size, int64_t offset)
      : size_(size), offset_(offset), memory_(static_cast<T*>(std::malloc(bytes()))) {
    std::memset(static_cast<void*>(memory_.get()), 0xFF, bytes());  // NaN in every type
  }
  T* data() { return memory_.get() + offset_; }
  int64_t size() const { return size_; }
  size_t bytes() const { return static_cast<size_t>(size_ + offset_) * sizeof(T); }
  bool operator==(const Exact& other) const {
    return std::memcmp(memory_.get(), other.memory_.get(), bytes()) == 0;
  }

 private:
  struct Free {
    void operator()(T* memory) const { std::free(memory); }
  };
  int64_t size_;
  int64_t offset_;
  std::unique_ptr<T, Free> memory_;
};

// How a host may cut the work: not at all, in pieces of awkward sizes, the last piece first.
using Body = void (*)(int64_t, int64_t, void*);
inline void whole(int64_t count, int64_t, Body body, void* context) {
  if (count > 0) body(0, count, context);
}
inline void in_pieces(int64_t count, int64_t, Body body, void* context) {
  const int64_t most = count / 9 + 1;
  for (int64_t begin = 0, k = 0; begin < count; ++k) {
    const int64_t end = std::min(count, begin + 1 + (k * 7919) % most);
    body(begin, end, context);
    begin = end;
  }
}
inline void backwards(int64_t count, int64_t, Body body, void* context) {
  const int64_t third = count / 3;
  if (third < count) body(third, count, context);
  if (third > 0) body(0, third, context);
}
inline constexpr cpu::ParallelFor kCuts[] = {whole, in_pieces, backwards};

template <class T>
constexpr double unit() {  // half the distance from 1 to the next number
  if (std::is_same<T, BFloat16>::value) return 0x1p-8;
  if (std::is_same<T, Half>::value) return 0x1p-11;
  return std::is_same<T, float>::value ? 0x1p-24 : 0x1p-53;
}
template <class T>
constexpr double least() {  // the distance from 0 to the next number
  if (std::is_same<T, BFloat16>::value) return 0x1p-133;
  if (std::is_same<T, Half>::value) return 0x1p-24;
  return std::is_same<T, float>::value ? 0x1p-149 : 0x1p-1074;
}

// A batch in memory: `stride` elements from one row to the next, the first one `offset` elements
// after an aligned address.
struct Case {
  int64_t batch;
  int64_t dim;
  int64_t stride;
  int64_t offset;
  unsigned seed;

  int64_t extent() const { return (batch - 1) * stride + dim; }
};

inline void require(bool condition, const char* what, const Case& c) {
  ++checks;
  if (condition) return;
  std::printf("FAILED: %s (batch %lld, dim %lld, stride %lld, offset %lld)\n", what,
              static_cast<long long>(c.batch), static_cast<long long>(c.dim),
              static_cast<long long>(c.stride), static_cast<long long>(c.offset));
  std::exit(1);
}

template <class T>
Exact<T> random_numbers(int64_t size, int64_t offset, unsigned seed) {
  Exact<T> numbers(size, offset);
  std::minstd_rand engine(seed + 1);
  std::uniform_real_distribution<float> distribution(-2, 2);
  for (int64_t i = 0; i < size; ++i) {
    numbers.data()[i] = narrow<T>(static_cast<compute_t<T>>(distribution(engine)));
  }
  return numbers;
}

template <class T>
void near(T actual, long double expected, double bound, const char* what, const Case& c) {
  const bool close = std::fabs(widen(actual) - expected) <= bound * 1.01 + least<T>();
  require(close, what, c);
}

}  // namespace wgan_fast
