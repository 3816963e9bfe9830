// norm_penalty: the norm of each sample's gradient, its penalty, and their sum.
//
//   norms[b] = ||gradients[b]||_2
//   penalty  = scale * sum_b term(norms[b])          (or each summand, when not reduced)
//   backward: out[b, i] = (scale * grad_penalty * term'(norms[b]) + grad_norms[b]) / norms[b]
//                         * gradients[b, i],  and 0 where norms[b] = 0
//
// Source: Gulrajani et al., arXiv 1704.00028, equation 3.
// Threads: forward, items of fixed size (some short rows, or one segment of a long row); backward,
// any cut of the packed elements.
// Traffic: forward reads N; backward reads N and writes N. The factors of the backward pass are
// made for a block of rows at a time, on the stack.
// Numerics: squares are summed in double, in 32 lanes and then in segments, always in the same
// order, so that a result depends neither on the number of threads nor, below float64, on the
// instruction set (the square of a float is exact in a double). A float64 row whose squares leave
// the range of a double is summed again, divided by its largest entry.
//
// Included once for each instruction set, inside that set's namespace.
constexpr int kLanes = 32;

template <class T>
double sum_of_squares(const T* __restrict x, int64_t n) {
  double lane[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    for (int l = 0; l < kLanes; ++l) {
      const double v = widen(x[i + l]);
      lane[l] += v * v;
    }
  }
  for (int l = 0; i + l < n; ++l) {
    const double v = widen(x[i + l]);
    lane[l] += v * v;
  }
  for (int width = kLanes / 2; width > 0; width /= 2) {
    for (int l = 0; l < width; ++l) lane[l] += lane[l + width];
  }
  return lane[0];
}

// sum_of_squares of `rows` rows of a few elements, so few that the compiler knows their number.
template <int Dim, class T>
void sums_of_short_rows(const T* __restrict x, int64_t stride, int64_t rows,
                        double* __restrict out) {
  for (int64_t b = 0; b < rows; ++b) {
    double sum = 0;
    for (int i = 0; i < Dim; ++i) {
      const double v = widen(x[b * stride + i]);
      sum += v * v;
    }
    out[b] = sum;
  }
}

template <class T>
void sums_of_rows(const T* x, int64_t stride, int64_t dim, int64_t rows, double* out) {
  switch (dim) {
    case 1:
      return sums_of_short_rows<1>(x, stride, rows, out);
    case 2:
      return sums_of_short_rows<2>(x, stride, rows, out);
    case 3:
      return sums_of_short_rows<3>(x, stride, rows, out);
    case 4:
      return sums_of_short_rows<4>(x, stride, rows, out);
    default:
      for (int64_t b = 0; b < rows; ++b) out[b] = sum_of_squares(x + b * stride, dim);
  }
}

// The norm of a row of doubles whose squares over- or underflow. NaN and infinity come through.
inline double scaled_norm(const double* x, int64_t n) {
  double largest = 0;
  for (int64_t i = 0; i < n; ++i) {
    const double magnitude = x[i] < 0 ? -x[i] : x[i];
    if (!(magnitude <= largest)) largest = magnitude;  // true for NaN as well
    if (largest != largest) return largest;
  }
  if (largest == 0 || largest - largest != 0) return largest;
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += (x[i] / largest) * (x[i] / largest);
  return largest * __builtin_sqrt(sum);
}

// From the sums of squares of `rows` rows, starting at `first`, to norms and terms; returns the
// sum of the terms. `sums` is overwritten.
template <class T>
double finish_rows(const NormPenaltyArgs<T>& args, int64_t first, int64_t rows,
                   double* __restrict sums) {
  for (int64_t b = 0; b < rows; ++b) sums[b] = __builtin_sqrt(sums[b]);
  if (sizeof(T) == sizeof(double)) {
    for (int64_t b = 0; b < rows; ++b) {
      if (sums[b] > 1e-140 && sums[b] < 1e150) continue;
      const void* row = args.gradients.data + (first + b) * args.gradients.stride;
      sums[b] = scaled_norm(static_cast<const double*>(row), args.dim);
    }
  }
  compute_t<T>* norms = args.norms + first;
  for (int64_t b = 0; b < rows; ++b) norms[b] = static_cast<compute_t<T>>(sums[b]);
  for (int64_t b = 0; b < rows; ++b) sums[b] = args.term.value(sums[b]);
  if (!args.reduce) {
    compute_t<T>* penalty = args.penalty + first;
    for (int64_t b = 0; b < rows; ++b) {
      penalty[b] = static_cast<compute_t<T>>(args.scale * sums[b]);
    }
    return 0;
  }
  double total = 0;
  for (int64_t b = 0; b < rows; ++b) total += sums[b];
  return total;
}

template <class T>
void norm_penalty_backward(const NormPenaltyBackwardArgs<T>& args, bool past_caches, int64_t begin,
                           int64_t end) {
  using A = compute_t<T>;
  const auto slope = [&](int64_t b) {
    const double grad_penalty = args.grad_penalty[args.reduce ? 0 : b];
    const double of_term = args.scale * grad_penalty * args.term.derivative(args.norms[b]);
    return args.grad_norms == nullptr ? of_term : of_term + args.grad_norms[b];
  };
  bool all_finite = true;  // the factors of the rows at hand
  const auto factors_of = [&](int64_t first, int64_t count, A* factor) {
    for (int64_t j = 0; j < count; ++j) {
      const double norm = args.norms[first + j];
      factor[j] = norm == 0 ? A(0) : static_cast<A>(slope(first + j) / norm);
    }
    int64_t finite = 0;
    for (int64_t j = 0; j < count; ++j) finite += factor[j] - factor[j] == 0;
    all_finite = finite == count;
  };
  Output<T> output(args.out, past_caches);
  for_each_piece<A>(
      args.dim, args.gradients.stride == args.dim, output.most(), begin, end, factors_of,
      [&](Piece piece, auto factor) {
        const T* __restrict x =
            args.gradients.data + piece.row * args.gradients.stride + piece.offset;
        T* __restrict out = output.open(piece.at);
        if (all_finite) {
          for (int64_t i = 0; i < piece.n; ++i) out[i] = narrow<T>(factor[i] * widen(x[i]));
        } else {  // a norm is so small that 1 / norm overflows, or something is not finite
          for (int64_t i = 0; i < piece.n; ++i) {
            const int64_t b = (piece.at + i) / args.dim;
            const A quotient = static_cast<A>(slope(b) * (widen(x[i]) / double{args.norms[b]}));
            out[i] = narrow<T>(factor[i] - factor[i] == 0 ? factor[i] * widen(x[i]) : quotient);
          }
        }
        output.close(piece.at, piece.n);
      });
}
