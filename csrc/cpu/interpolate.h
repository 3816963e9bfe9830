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

template <class T>
struct RowFactors {
  static constexpr int64_t block = 64;  // rows whose factors are drawn at once
  const Epsilon<T>& epsilon;
  compute_t<T> drawn[block];

  // factors()[j] belongs to row `row + j`, for j < count <= block.
  const compute_t<T>* factors(int64_t row, int64_t count) {
    if (epsilon.given != nullptr) return epsilon.given + row;
    for (int64_t j = 0; j < count; ++j) {
      drawn[j] =
          uniform_epsilon(epsilon.seed, static_cast<uint64_t>(epsilon.first_sample + row + j));
    }
    return drawn;
  }
};

// Calls row(b, epsilon_b, lo, hi) for the part [lo, hi) of each row b that lies in [begin, end).
template <class T, class F>
WGAN_FAST_INLINE void for_each_row(const Epsilon<T>& epsilon, int64_t dim, int64_t begin,
                                   int64_t end, F row) {
  RowFactors<T> source{epsilon, {}};
  const int64_t last = (end - 1) / dim;
  for (int64_t first = begin / dim; first <= last; first += source.block) {
    const int64_t count = min(last + 1 - first, source.block);
    const compute_t<T>* factor = source.factors(first, count);
    for (int64_t j = 0; j < count; ++j) {
      const int64_t start = (first + j) * dim;
      row(first + j, factor[j], max(begin - start, int64_t{0}), min(end - start, dim));
    }
  }
}

template <class T>
void interpolate(const InterpolateArgs<T>& args, int64_t begin, int64_t end) {
  for_each_row(args.epsilon, args.dim, begin, end,
               [&](int64_t b, compute_t<T> epsilon, int64_t lo, int64_t hi) {
                 const T* __restrict real = args.real.data + b * args.real.stride;
                 const T* __restrict fake = args.fake.data + b * args.fake.stride;
                 T* __restrict out = args.out + b * args.dim;
                 for (int64_t i = lo; i < hi; ++i) {
                   const compute_t<T> from = widen(fake[i]);
                   out[i] = narrow<T>(multiply_add(epsilon, widen(real[i]) - from, from));
                 }
               });
}

template <class T>
void interpolate_backward(const InterpolateBackwardArgs<T>& args, int64_t begin, int64_t end) {
  for_each_row(args.epsilon, args.dim, begin, end,
               [&](int64_t b, compute_t<T> epsilon, int64_t lo, int64_t hi) {
                 const T* __restrict grad = args.grad.data + b * args.grad.stride;
                 T* __restrict grad_real = args.grad_real + b * args.dim;
                 T* __restrict grad_fake = args.grad_fake + b * args.dim;
                 const compute_t<T> rest = 1 - epsilon;
                 for (int64_t i = lo; i < hi; ++i) {
                   const compute_t<T> g = widen(grad[i]);
                   grad_real[i] = narrow<T>(epsilon * g);
                   grad_fake[i] = narrow<T>(rest * g);
                 }
               });
}
