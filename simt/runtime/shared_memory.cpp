#include "shared_memory.h"

#include <sys/mman.h>

#include <new>
#include <vector>

#if defined(SIMT_ASAN)
#include <sanitizer/asan_interface.h>
#endif

namespace simt {
namespace {

constexpr size_t kArenaBytes = size_t{1} << 30;  // reserved, not used
constexpr size_t kRedZone = 128;                 // a multiple of the 32 banks of 4 bytes

struct Variable {
  const void* key;
  void* memory;
};

char* arena() {
  static char* memory = [] {
    void* p = mmap(nullptr, kArenaBytes, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) throw std::bad_alloc();
    return static_cast<char*>(p);
  }();
  return memory;
}

size_t used = 0;
std::vector<Variable> of_block;

}  // namespace

void* shared_variable(const void* key, size_t size) {
  for (const Variable& variable : of_block) {
    if (variable.key == key) return variable.memory;
  }
  const size_t room = (size + kRedZone - 1) / kRedZone * kRedZone;
  if (used + room + kRedZone > kArenaBytes) throw std::bad_alloc();
  char* memory = arena() + used;
  used += room + kRedZone;
#if defined(SIMT_ASAN)
  __asan_unpoison_memory_region(memory, size);
  __asan_poison_memory_region(memory + size, room + kRedZone - size);
#endif
  // Not memset: the race detector would take it for an access by this thread of the kernel.
  volatile char* bytes = memory;
  for (size_t i = 0; i < size; ++i) bytes[i] = static_cast<char>(0xff);
  of_block.push_back({key, memory});
  return memory;
}

// Reserved before a kernel runs: the race detector takes it for a write by whoever does it.
void begin_launch_memory() { arena(); }

void begin_block_memory() { of_block.clear(); }

void end_launch_memory() {
  of_block.clear();
  used = 0;
}

bool is_shared(const void* address) {
  const char* p = static_cast<const char*>(address);
  return p >= arena() && p < arena() + kArenaBytes;
}

}  // namespace simt
