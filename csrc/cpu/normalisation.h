// The backward pass of a normalisation, and the double backward: layers, groups, instances, RMS.
//
// The formulas and their sources: common/normalised_row.h.
// Threads: whole rows, or for few and long rows, segments of fixed size; see normalisation.cpp.
// Traffic: backward reads 2N and writes N elements, double backward reads 3N and writes 2N. A row
// is read twice, the sums first; the second time it is in the caches, unless it is a long one.
// Numerics: sums are taken in double, in 8 lanes, then run by run or segment by segment, then
// sample by sample, always in the same order: no result depends on the number of threads. What is
// done to each element is done in float, or in double for double.
//
// Included once for each instruction set, inside that set's namespace.
constexpr int kLanes = 8;

// The sums of `Count` terms over n elements: terms(i, out) writes those of element i.
template <int Count, class Terms>
WGAN_FAST_INLINE void add_up(int64_t n, double* __restrict out, Terms terms) {
  double lane[Count][kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    for (int l = 0; l < kLanes; ++l) {
      double term[Count];
      terms(i + l, term);
      for (int k = 0; k < Count; ++k) lane[k][l] += term[k];
    }
  }
  for (int l = 0; i + l < n; ++l) {
    double term[Count];
    terms(i + l, term);
    for (int k = 0; k < Count; ++k) lane[k][l] += term[k];
  }
  for (int k = 0; k < Count; ++k) {
    for (int width = kLanes / 2; width > 0; width /= 2) {
      for (int l = 0; l < width; ++l) lane[k][l] += lane[k][l + width];
    }
    out[k] = lane[k][0];
  }
}

template <class T>
WGAN_FAST_INLINE compute_t<T> mean_of(const NormalisedRows<T>& at, int64_t row) {
  return at.mean == nullptr ? 0 : at.mean[row];
}

// The weights of a piece of a row: one for each element, or the same for all.
template <class C>
struct Each {
  const C* data;
  C operator[](int64_t i) const { return data[i]; }
};

// The sums of a stretch; a is the tangent of the weights, or nullptr for zeros.
template <class T, class W, class A>
WGAN_FAST_INLINE BackwardSums<double> sums_of(const NormalisationBackwardArgs<T>& args,
                                              Stretch piece, W w, A) {
  const T* __restrict x = args.at.x + piece.first;
  const T* __restrict grad_y = args.grad_y + piece.first;
  const double mean = mean_of(args.at, piece.row), rstd = args.at.rstd[piece.row];
  double sum[2];
  add_up<2>(piece.n, sum, [&](int64_t i, double* term) {
    term[0] = static_cast<double>(w[i]) * widen(grad_y[i]);
    term[1] = term[0] * ((widen(x[i]) - mean) * rstd);
  });
  return {sum[0], sum[1]};
}

template <class T, class W, class A>
WGAN_FAST_INLINE DoubleBackwardSums<double> sums_of(const NormalisationDoubleBackwardArgs<T>& args,
                                                    Stretch piece, W w, A a) {
  constexpr int count = std::is_same<A, std::nullptr_t>::value ? 5 : 7;
  const T* __restrict x = args.at.x + piece.first;
  const T* __restrict grad_y = args.grad_y + piece.first;
  const T* __restrict tangent = args.tangent + piece.first;
  const double mean = mean_of(args.at, piece.row), rstd = args.at.rstd[piece.row];
  double sum[7] = {};
  add_up<count>(piece.n, sum, [&](int64_t i, double* term) {
    const double grad = widen(grad_y[i]);
    const double n = (widen(x[i]) - mean) * rstd;
    term[2] = widen(tangent[i]);
    term[0] = static_cast<double>(w[i]) * grad;
    term[1] = term[0] * n;
    term[3] = term[2] * n;
    term[4] = term[0] * term[2];
    if constexpr (count == 7) {
      term[5] = static_cast<double>(a[i]) * grad;
      term[6] = term[5] * n;
    }
  });
  return {sum[0], sum[1], sum[2], sum[3], sum[4], sum[5], sum[6]};
}

// The results for each element of a stretch, and what it adds to the gradients of its weights, of
// which there are as many.
template <class T, class W, class A>
WGAN_FAST_INLINE void apply(const NormalisationBackwardArgs<T>& args, Stretch piece,
                            const BackwardRow<compute_t<T>>& row, W w, A, A,
                            double* __restrict grad_weight, double* __restrict grad_bias) {
  using C = compute_t<T>;
  const T* __restrict x = args.at.x + piece.first;
  const T* __restrict grad_y = args.grad_y + piece.first;
  const C mean = mean_of(args.at, piece.row);
  if (args.grad_x != nullptr) {
    T* __restrict out = args.grad_x + piece.first;
    for (int64_t i = 0; i < piece.n; ++i) {
      out[i] = narrow<T>(row.grad_x(row.weight(w[i], 0), widen(grad_y[i]), widen(x[i]) - mean));
    }
  }
  if (grad_weight == nullptr) return;
  for (int64_t i = 0; i < piece.n; ++i) {
    const C grad = widen(grad_y[i]);
    grad_weight[i] += grad * ((widen(x[i]) - mean) * row.rstd);
    grad_bias[i] += grad;
  }
}

template <class T, class W, class A>
WGAN_FAST_INLINE void apply(const NormalisationDoubleBackwardArgs<T>& args, Stretch piece,
                            const DoubleBackwardRow<compute_t<T>>& row, W w, A a, A b,
                            double* __restrict grad_weight, double*) {
  using C = compute_t<T>;
  const T* __restrict x = args.at.x + piece.first;
  const T* __restrict grad_y = args.grad_y + piece.first;
  const T* __restrict tangent = args.tangent + piece.first;
  T* __restrict grad_grad_y = args.grad_grad_y + piece.first;
  T* __restrict grad_x = args.grad_x + piece.first;
  const C mean = mean_of(args.at, piece.row);
  for (int64_t i = 0; i < piece.n; ++i) {
    const C d = widen(x[i]) - mean, v = widen(tangent[i]);
    const C projected = row.projected(v, d);
    grad_grad_y[i] = narrow<T>(w[i] * projected + (a[i] * (row.rstd * d) + b[i]));
    grad_x[i] = narrow<T>(row.grad_x(row.weight(w[i], a[i]), widen(grad_y[i]), v, d));
  }
  if (grad_weight == nullptr) return;
  for (int64_t i = 0; i < piece.n; ++i) {
    grad_weight[i] += widen(grad_y[i]) * row.projected(widen(tangent[i]), widen(x[i]) - mean);
  }
}

// The sums of a stretch, weighted if every element has a weight of its own, from `weight` on.
template <class Args>
sums_t<Args> stretch_sums(const Args& args, Stretch piece, int64_t weight) {
  using C = std::remove_const_t<std::remove_reference_t<decltype(*args.at.rstd)>>;
  const C* w = args.at.weight;
  const C* a = tangent_weight(args);
  if (args.at.run > 1 || w == nullptr) return sums_of(args, piece, Constant<C>{1}, nullptr);
  if (a == nullptr) return sums_of(args, piece, Each<C>{w + weight}, nullptr);
  return sums_of(args, piece, Each<C>{w + weight}, Each<C>{a + weight});
}

// The results for a stretch, whose first or only weight is `weight`.
template <class Args>
void apply_to_stretch(const Args& args, Stretch piece, int64_t weight, const row_t<Args>& row,
                      double* grad_weight, double* grad_bias) {
  using C = std::remove_const_t<std::remove_reference_t<decltype(*args.at.rstd)>>;
  const C* w = args.at.weight;
  const C* a = tangent_weight(args);
  const C* b = tangent_bias(args);
  const auto rounded = row.template rounded<C>();
  const auto constant = [&](const C* of, C otherwise) {
    return Constant<C>{of == nullptr ? otherwise : of[weight]};
  };
  if (args.at.run > 1) {  // their gradients follow from the sums
    apply(args, piece, rounded, constant(w, 1), constant(a, 0), constant(b, 0), nullptr, nullptr);
  } else if (w == nullptr) {
    apply(args, piece, rounded, Constant<C>{1}, Constant<C>{0}, Constant<C>{0}, grad_weight,
          grad_bias);
  } else if (a == nullptr) {
    apply(args, piece, rounded, Each<C>{w + weight}, Constant<C>{0}, Constant<C>{0}, grad_weight,
          grad_bias);
  } else {
    apply(args, piece, rounded, Each<C>{w + weight}, Each<C>{a + weight}, Each<C>{b + weight},
          grad_weight, grad_bias);
  }
}

// The rows of some samples and groups. The gradients of the weights are added to grad_weight and
// grad_bias, which have those of all groups, or are null. `parts` has room for a row's runs.
template <class Args>
void whole_rows(const Args& args, Share share, double* grad_weight, double* grad_bias,
                sums_t<Args>* parts) {
  const auto& at = args.at;
  const int64_t length = at.run > 1 ? at.run : at.size;  // of a stretch
  const int64_t weights = at.size / at.run;
  for (int64_t sample = share.first_sample; sample < share.last_sample; ++sample) {
    for (int64_t group = share.first_group; group < share.last_group; ++group) {
      const int64_t row = sample * at.groups + group;
      const auto stretch = [&](int64_t k) {
        return Stretch{row, row * at.size + k * length, length};
      };
      for (int64_t k = 0; k < at.size / length; ++k) {
        parts[k] = stretch_sums(args, stretch(k), group * weights);
      }
      const auto of_row = row_of(args, row, parts);
      for (int64_t k = 0; k < at.size / length; ++k) {
        const int64_t weight = group * weights + k;
        double* to_weight = grad_weight == nullptr ? nullptr : grad_weight + weight;
        double* to_bias = grad_bias == nullptr ? nullptr : grad_bias + weight;
        apply_to_stretch(args, stretch(k), weight, of_row, to_weight, to_bias);
        if (at.run > 1 && to_weight != nullptr) add_gradients(of_row, parts[k], to_weight, to_bias);
      }
    }
  }
}
