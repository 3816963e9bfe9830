// The elements of a batch, cut into pieces in which each element has the factor of its row.
//
// Included once for each instruction set, inside that set's namespace.
constexpr int64_t kBlock = 64;  // rows whose factors are made at once
constexpr int64_t kShort = 16;  // rows of at most this many elements are treated as one long row

// The same factor for every element of a row.
template <class A>
struct Constant {
  A value;
  A operator[](int64_t) const { return value; }
};

// A range of packed elements: `n` of them from `at` on, which is element `offset` of row `row`. It
// ends with that row, or, when rows are short and packed, in a later one.
struct Piece {
  int64_t row, offset, at, n;
};

// Cuts the packed elements [begin, end) into pieces of at most `most` elements and calls
// body(piece, factors), where factors[i] belongs to the i-th element of the piece.
// factors_of(first, count, out) makes the factors of `count` rows. `packed` tells whether the
// inputs' rows lie one behind the other, as the outputs' do.
template <class A, class FactorsOf, class Body>
WGAN_FAST_INLINE void for_each_piece(int64_t dim, bool packed, int64_t most, int64_t begin,
                                     int64_t end, FactorsOf factors_of, Body body) {
  A factor[kBlock];
  A spread[kBlock * kShort];
  const int64_t last = (end - 1) / dim;
  for (int64_t first = begin / dim; first <= last; first += kBlock) {
    const int64_t count = min(last + 1 - first, kBlock);
    factors_of(first, count, factor);
    // Elements [start, stop), which belong to this row or begin with it.
    const auto cut = [&](int64_t row, int64_t start, int64_t stop, auto factors) {
      for (int64_t at = max(begin, start), n; at < min(end, stop); at += n) {
        n = min(min(end, stop) - at, most - at % most);  // the next begins with a whole line
        body(Piece{row, at - start, at, n}, factors(at - start));
      }
    };
    if (packed && dim <= kShort) {
      for (int64_t j = 0; j < count; ++j) {
        for (int64_t i = 0; i < dim; ++i) spread[j * dim + i] = factor[j];
      }
      cut(first, first * dim, (first + count) * dim, [&](int64_t i) { return spread + i; });
      continue;
    }
    for (int64_t j = 0; j < count; ++j) {
      cut(first + j, (first + j) * dim, (first + j + 1) * dim,
          [&](int64_t) { return Constant<A>{factor[j]}; });
    }
  }
}
