// random_interpolate and interpolate: a random point between each real and fake sample.
//
//   out[b, i]       = fma(epsilon_b, real[b, i], fma(-epsilon_b, fake[b, i], fake[b, i]))
//   grad_real[b, i] = epsilon_b * grad[b, i],   grad_fake[b, i] = (1 - epsilon_b) * grad[b, i]
//
// Source: Gulrajani et al., arXiv 1704.00028, algorithm 1 lines 5 and 6.
// Threads: any cut of the packed elements [0, batch * dim); every element is computed by itself.
// Traffic: forward reads 2N and writes N elements, backward reads N and writes 2N. The factors are
// drawn for a block of rows at a time, on the stack.
//
// Included once for each instruction set, inside that set's namespace.
// Makes the factors of `count` rows from `first` on: those given, or else drawn.
template <class T>
WGAN_FAST_INLINE auto factors_of(const Epsilon<T>& epsilon) {
  return [&epsilon](int64_t first, int64_t count, compute_t<T>* out) {
    const auto sample = static_cast<uint64_t>(epsilon.first_sample + first);
    if (epsilon.given != nullptr) {
      for (int64_t j = 0; j < count; ++j) out[j] = epsilon.given[first + j];
    } else {
      for (int64_t j = 0; j < count; ++j) {
        out[j] = uniform_epsilon(epsilon.seed, sample + static_cast<uint64_t>(j));
      }
    }
  };
}

template <class T>
void interpolate(const InterpolateArgs<T>& args, bool past_caches, int64_t begin, int64_t end) {
  const bool packed = args.real.stride == args.dim && args.fake.stride == args.dim;
  Output<T> output(args.out, past_caches);
  for_each_piece<compute_t<T>>(
      args.dim, packed, output.most(), begin, end, factors_of(args.epsilon),
      [&](Piece piece, auto epsilon) {
        const T* __restrict real = args.real.data + piece.row * args.real.stride + piece.offset;
        const T* __restrict fake = args.fake.data + piece.row * args.fake.stride + piece.offset;
        T* __restrict out = output.open(piece.at);
        for (int64_t i = 0; i < piece.n; ++i) {
          const compute_t<T> from = widen(fake[i]);
          const compute_t<T> rest = multiply_add(-epsilon[i], from, from);
          out[i] = narrow<T>(multiply_add(epsilon[i], widen(real[i]), rest));
        }
        output.close(piece.at, piece.n);
      });
}

template <class T>
void interpolate_backward(const InterpolateBackwardArgs<T>& args, bool past_caches, int64_t begin,
                          int64_t end) {
  const bool packed = args.grad.stride == args.dim;
  Output<T> to_real(args.grad_real, past_caches);
  Output<T> to_fake(args.grad_fake, past_caches);
  for_each_piece<compute_t<T>>(args.dim, packed, to_real.most(), begin, end,
                               factors_of(args.epsilon), [&](Piece piece, auto epsilon) {
                                 const T* __restrict grad =
                                     args.grad.data + piece.row * args.grad.stride + piece.offset;
                                 T* __restrict grad_real = to_real.open(piece.at);
                                 T* __restrict grad_fake = to_fake.open(piece.at);
                                 for (int64_t i = 0; i < piece.n; ++i) {
                                   const compute_t<T> g = widen(grad[i]);
                                   grad_real[i] = narrow<T>(epsilon[i] * g);
                                   grad_fake[i] = narrow<T>((1 - epsilon[i]) * g);
                                 }
                                 to_real.close(piece.at, piece.n);
                                 to_fake.close(piece.at, piece.n);
                               });
}
