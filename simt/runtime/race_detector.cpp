#include "race_detector.h"

#if defined(SIMT_TSAN)
#include <sys/mman.h>

#include <vector>

// sanitizer/tsan_interface.h, as far as it is needed.
extern "C" {
void* __tsan_get_current_fiber();
void* __tsan_create_fiber(unsigned flags);
void __tsan_destroy_fiber(void* fiber);
void __tsan_switch_to_fiber(void* fiber, unsigned flags);
void __tsan_acquire(void* address);
void __tsan_release(void* address);
}

namespace simt {
namespace race {
namespace {

constexpr unsigned kNoSync = 1;  // a switch alone orders nothing
constexpr size_t kObjectsOfBlock = 40;
constexpr size_t kObjectBytes = size_t{1} << 26;

void* scheduler;
std::vector<void*> fibers;

}  // namespace

// The detector forgets races with fibers that are gone, so they stay until the launch is over.
void* new_fiber() {
  fibers.push_back(__tsan_create_fiber(0));
  return fibers.back();
}
void switch_to(void* fiber) { __tsan_switch_to_fiber(fiber, kNoSync); }
void switch_to_scheduler() { __tsan_switch_to_fiber(scheduler, kNoSync); }
void release(const void* object) { __tsan_release(const_cast<void*>(object)); }
void acquire(const void* object) { __tsan_acquire(const_cast<void*>(object)); }

void* object_of(size_t block, unsigned what) {
  static char* objects =
      static_cast<char*>(mmap(nullptr, kObjectBytes, PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
  return objects + (block * kObjectsOfBlock + what) * 8 % kObjectBytes;
}

void begin_launch() { scheduler = __tsan_get_current_fiber(); }
void end_launch() {
  for (void* fiber : fibers) __tsan_destroy_fiber(fiber);
  fibers.clear();
}

}  // namespace race
}  // namespace simt
#endif
