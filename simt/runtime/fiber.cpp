#include "fiber.h"

#include <sys/mman.h>

#include <cstdint>
#include <cstdlib>
#include <new>

#include "race_detector.h"
#if defined(SIMT_ASAN)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

// Saves the registers that a function must keep, stores the stack pointer, takes the other one.
extern "C" void simt_switch(void** save, void* to);
asm(R"(
.text
.type simt_switch,@function
simt_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp,(%rdi)
  movq %rsi,%rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
)");

namespace simt {
namespace {

constexpr size_t kGuardBytes = 4096;
constexpr int kSavedRegisters = 6;

// The scheduler's own stack.
struct {
  void* stack_pointer;
  void* fake_stack;
  const void* stack;
  size_t stack_bytes;
} scheduler;

void* map(void* where, size_t bytes, int flags) {
  void* p = mmap(where, bytes, PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | flags, -1, 0);
  if (p == MAP_FAILED) throw std::bad_alloc();
  return p;
}

}  // namespace

void Fiber::prepare(void (*entry)()) {
  if (stack_ == nullptr) {
    char* mapped = static_cast<char*>(map(nullptr, stack_bytes + kGuardBytes, 0));
    mprotect(mapped, kGuardBytes, PROT_NONE);
    stack_ = mapped + kGuardBytes;
  }
#if defined(SIMT_ASAN)
  __asan_unpoison_memory_region(stack_, stack_bytes);
  fake_stack_ = nullptr;
#endif
#if defined(SIMT_TSAN)
  map(stack_, stack_bytes, MAP_FIXED);  // the detector forgets who used this stack before
#endif
  race_detector_ = race::new_fiber();
  void** top = reinterpret_cast<void**>(stack_ + stack_bytes);
  *--top = nullptr;  // where `entry` would return to
  *--top = reinterpret_cast<void*>(entry);
  for (int i = 0; i < kSavedRegisters; ++i) *--top = nullptr;
  stack_pointer_ = top;
}

void Fiber::resume() {
#if defined(SIMT_ASAN)
  __sanitizer_start_switch_fiber(&scheduler.fake_stack, stack_, stack_bytes);
#endif
  race::switch_to(race_detector_);
  simt_switch(&scheduler.stack_pointer, stack_pointer_);
#if defined(SIMT_ASAN)
  __sanitizer_finish_switch_fiber(scheduler.fake_stack, nullptr, nullptr);
#endif
}

void Fiber::yield() {
#if defined(SIMT_ASAN)
  __sanitizer_start_switch_fiber(&fake_stack_, scheduler.stack, scheduler.stack_bytes);
#endif
  race::switch_to_scheduler();
  simt_switch(&stack_pointer_, scheduler.stack_pointer);
#if defined(SIMT_ASAN)
  __sanitizer_finish_switch_fiber(fake_stack_, &scheduler.stack, &scheduler.stack_bytes);
#endif
}

void Fiber::leave() {
#if defined(SIMT_ASAN)
  __sanitizer_start_switch_fiber(nullptr, scheduler.stack, scheduler.stack_bytes);
#endif
  race::switch_to_scheduler();
  simt_switch(&stack_pointer_, scheduler.stack_pointer);
  std::abort();  // nobody resumes a fiber that has left
}

void Fiber::entered() {
#if defined(SIMT_ASAN)
  __sanitizer_finish_switch_fiber(nullptr, &scheduler.stack, &scheduler.stack_bytes);
#endif
}

}  // namespace simt
