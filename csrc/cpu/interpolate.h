// random_interpolate and interpolate: a random point between each real and fake sample.
//
//   out[b, i]       = fma(epsilon_b, real[b, i] - fake[b, i], fake[b, i])
//   grad_real[b, i] = epsilon_b * grad[b, i],   grad_fake[b, i] = (1 - epsilon_b) * grad[b, i]
//
// Source: Gulrajani et al., arXiv 1704.00028, algorithm 1 lines 5 and 6.
// Threads: any cut of the packed elements [0, batch * dim); every element is computed by itself.
// Traffic: forward reads 2N and writes N elements, backward reads N and writes 2N. The factors are
// drawn for a block of rows at a time, on the stack.
//
// Included once for each instruction set, inside that set's namespace.
#pragma once

constexpr int64_t kBlock = 64;  // rows whose factors are drawn at once
constexpr int64_t kShort = 16;  // rows of at most this many elements are treated as one long row

// The same factor for every element of a row.
template <class C>
struct Constant {
  C value;
  C operator[](int64_t) const { return value; }
};

// The factors of `count` rows from `row` on: those given, or else drawn into `drawn`.
template <class T>
const compute_t<T>* factors(const Epsilon<T>& epsilon, int64_t row, int64_t count,
                            compute_t<T>* drawn) {
  if (epsilon.given != nullptr) return epsilon.given + row;
  const auto first = static_cast<uint64_t>(epsilon.first_sample + row);
  for (int64_t j = 0; j < count; ++j) {
    drawn[j] = uniform_epsilon(epsilon.seed, first + static_cast<uint64_t>(j));
  }
  return drawn;
}

// Cuts the packed elements [begin, end) into pieces and calls
// piece(row, offset in that row, packed position, length, factors), where factors[i] belongs to the
// i-th element of the piece. A piece is a part of one row, or, when rows are short and `packed`,
// many rows at once.
template <class T, class F>
WGAN_FAST_INLINE void for_each_piece(const Epsilon<T>& epsilon, int64_t dim, bool packed,
                                     int64_t begin, int64_t end, F piece) {
  compute_t<T> drawn[kBlock];
  compute_t<T> spread[kBlock * kShort];
  const int64_t last = (end - 1) / dim;
  for (int64_t first = begin / dim; first <= last; first += kBlock) {
    const int64_t count = min(last + 1 - first, kBlock);
    const compute_t<T>* factor = factors(epsilon, first, count, drawn);
    if (packed && dim <= kShort) {
      for (int64_t j = 0; j < count; ++j) {
        for (int64_t i = 0; i < dim; ++i) spread[j * dim + i] = factor[j];
      }
      const int64_t lo = max(begin - first * dim, int64_t{0});
      const int64_t hi = min(end - first * dim, count * dim);
      piece(first, lo, first * dim + lo, hi - lo, spread + lo);
      continue;
    }
    for (int64_t j = 0; j < count; ++j) {
      const int64_t start = (first + j) * dim;
      const int64_t lo = max(begin - start, int64_t{0});
      const int64_t hi = min(end - start, dim);
      piece(first + j, lo, start + lo, hi - lo, Constant<compute_t<T>>{factor[j]});
    }
  }
}

template <class T>
void interpolate(const InterpolateArgs<T>& args, int64_t begin, int64_t end) {
  const bool packed = args.real.stride == args.dim && args.fake.stride == args.dim;
  for_each_piece(args.epsilon, args.dim, packed, begin, end,
                 [&](int64_t row, int64_t lo, int64_t at, int64_t n, auto epsilon) {
                   const T* __restrict real = args.real.data + row * args.real.stride + lo;
                   const T* __restrict fake = args.fake.data + row * args.fake.stride + lo;
                   T* __restrict out = args.out + at;
                   for (int64_t i = 0; i < n; ++i) {
                     const compute_t<T> from = widen(fake[i]);
                     out[i] = narrow<T>(multiply_add(epsilon[i], widen(real[i]) - from, from));
                   }
                 });
}

template <class T>
void interpolate_backward(const InterpolateBackwardArgs<T>& args, int64_t begin, int64_t end) {
  const bool packed = args.grad.stride == args.dim;
  for_each_piece(args.epsilon, args.dim, packed, begin, end,
                 [&](int64_t row, int64_t lo, int64_t at, int64_t n, auto epsilon) {
                   const T* __restrict grad = args.grad.data + row * args.grad.stride + lo;
                   T* __restrict grad_real = args.grad_real + at;
                   T* __restrict grad_fake = args.grad_fake + at;
                   for (int64_t i = 0; i < n; ++i) {
                     const compute_t<T> g = widen(grad[i]);
                     grad_real[i] = narrow<T>(epsilon[i] * g);
                     grad_fake[i] = narrow<T>((1 - epsilon[i]) * g);
                   }
                 });
}
