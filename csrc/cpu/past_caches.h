// Writing an output past the caches.
//
// To write a part of a line, a processor reads the line first; and an output that is larger than
// the caches evicts other data from them, and is evicted itself before it is read. Such an output
// is computed in pieces, into a block on the stack that stays in the first cache, and goes to
// memory from there, in whole lines, unread: interpolation moves three arrays and not four.
//
// Included once for each instruction set, inside that set's namespace.
constexpr int64_t kLine = 64;    // bytes
constexpr int64_t kPiece = 256;  // elements of a block; with 1024, reading waited for writing

// Copies one line, both sides aligned. In the widest stores that there are: by 16 bytes it would
// take 1.3 times as long.
WGAN_FAST_INLINE void copy_line(char* to, const char* from) {
#if WGAN_FAST_STORE == 64
  _mm512_stream_si512(reinterpret_cast<__m512i*>(to), _mm512_loadu_si512(from));
#elif WGAN_FAST_STORE == 32
  for (int64_t i = 0; i < kLine; i += 32) {
    _mm256_stream_si256(reinterpret_cast<__m256i*>(to + i),
                        _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from + i)));
  }
#elif WGAN_FAST_STORE == 16
  for (int64_t i = 0; i < kLine; i += 16) {
    _mm_stream_si128(reinterpret_cast<__m128i*>(to + i),
                     _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + i)));
  }
#else
  std::memcpy(to, from, kLine);
#endif
}

// Copies `bytes` bytes, the whole lines among them past the caches.
WGAN_FAST_INLINE void copy_past_caches(char* to, const char* from, int64_t bytes) {
  const int64_t head = min(-reinterpret_cast<intptr_t>(to) & (kLine - 1), bytes);
  std::memcpy(to, from, head);
  int64_t i = head;
  for (; i + kLine <= bytes; i += kLine) copy_line(to + i, from + i);
  std::memcpy(to + i, from + i, bytes - i);
}

// An output, in the memory of its tensor or past the caches into it. Elements [at, at + n) are
// written between open(at) and close(at, n), n at most most().
template <class T>
class Output {
 public:
  Output(T* data, bool past_caches) : data_(data), past_caches_(past_caches) {}
  ~Output() {
#if defined(WGAN_FAST_STORE)
    if (past_caches_) _mm_sfence();  // before others read it
#endif
  }

  int64_t most() const { return past_caches_ ? kPiece : INT64_MAX; }
  T* open(int64_t at) { return past_caches_ ? block_ : data_ + at; }
  void close(int64_t at, int64_t n) {
    if (!past_caches_) return;
    copy_past_caches(reinterpret_cast<char*>(data_ + at), reinterpret_cast<const char*>(block_),
                     n * static_cast<int64_t>(sizeof(T)));
  }

 private:
  T* data_;
  bool past_caches_;
  alignas(kLine) T block_[kPiece];
};
