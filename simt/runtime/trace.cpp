// The compiler calls a function of ThreadSanitizer's at every access to memory. Here those
// functions count; the sanitizer itself is not linked.
//
// One request of a warp is what its lanes access at the same instruction for the same time.
#include "trace.h"

#include <algorithm>
#include <array>
#include <map>
#include <set>
#include <tuple>
#include <utility>

#include "../device/simt.h"
#include "scheduler.h"
#include "shared_memory.h"

namespace simt {
namespace {

constexpr uintptr_t kSector = 32;
constexpr size_t kVector = 16;
constexpr uintptr_t kBankBytes = 4;
constexpr uintptr_t kBanks = 32;

struct Memory {
  uintptr_t begin;
  uintptr_t end;
};
struct Access {
  uintptr_t address;
  size_t size;
};
struct Request {
  bool is_write;
  bool is_shared;
  std::vector<Access> accesses;
};
// Instruction, warp, and how often the lane has been there.
using Moment = std::tuple<uintptr_t, unsigned, unsigned>;

std::vector<Memory> watched;
std::map<Moment, Request> requests;
std::map<std::pair<uintptr_t, unsigned>, unsigned> visits;  // of an instruction by a thread
LaunchTrace trace;
std::vector<LaunchTrace> traces;
bool tracing = false;

bool is_watched(uintptr_t address) {
  return std::any_of(watched.begin(), watched.end(), [=](const Memory& memory) {
    return address >= memory.begin && address < memory.end;
  });
}

void access(const void* p, size_t size, bool is_write, uintptr_t instruction) {
  if (!tracing) return;
  const auto address = reinterpret_cast<uintptr_t>(p);
  const bool shared = is_shared(p);
  if (!shared && !is_watched(address)) return;
  const unsigned visit = visits[{instruction, current->linear}]++;
  Request& request = requests[{instruction, current->warp, visit}];
  request.is_write = is_write;
  request.is_shared = shared;
  request.accesses.push_back({address, size});
}

std::set<uintptr_t> units(const Request& request, uintptr_t unit) {
  std::set<uintptr_t> result;
  for (const Access& a : request.accesses) {
    for (uintptr_t u = a.address / unit; u <= (a.address + a.size - 1) / unit; ++u) {
      result.insert(u);
    }
  }
  return result;
}

void count_shared(const Request& request) {
  std::array<int, kBanks> words_of_bank{};
  for (uintptr_t word : units(request, kBankBytes)) ++words_of_bank[word % kBanks];
  ++trace.shared_requests;
  trace.bank_conflicts += *std::max_element(words_of_bank.begin(), words_of_bank.end()) - 1;
}

void count_global(const Request& request) {
  Traffic& traffic = request.is_write ? trace.written : trace.read;
  std::set<uintptr_t> addresses;  // lanes that read the same one are served together
  uint64_t bytes = 0;
  for (const Access& a : request.accesses) {
    if (!addresses.insert(a.address).second) continue;
    bytes += a.size;
    if (a.size == kVector) traffic.vector_bytes += a.size;
  }
  ++traffic.requests;
  traffic.bytes += bytes;
  traffic.sectors += units(request, kSector).size();
  traffic.least_sectors += (bytes + kSector - 1) / kSector;
}

struct Tracer : Listener {
  Tracer() { set_listener(this); }
  void launch_begins(const LaunchRecord& launch) override {
    trace = {launch.kernel, launch.blocks, launch.threads, {}, {}};
    tracing = true;
  }
  void block_ends() override {
    for (const auto& [moment, request] : requests) {
      request.is_shared ? count_shared(request) : count_global(request);
    }
    requests.clear();
    visits.clear();
  }
  void launch_ends() override {
    tracing = false;
    traces.push_back(trace);
  }
} tracer;

}  // namespace

void watch(const void* memory, size_t bytes) {
  const auto begin = reinterpret_cast<uintptr_t>(memory);
  watched.push_back({begin, begin + bytes});
}
void stop_watching() { watched.clear(); }
std::vector<LaunchTrace> take_traces() { return std::exchange(traces, {}); }

}  // namespace simt

#define SIMT_HERE reinterpret_cast<uintptr_t>(__builtin_return_address(0))
#define SIMT_ACCESS(size)                                                                \
  void __tsan_read##size(void* p) { simt::access(p, size, false, SIMT_HERE); }           \
  void __tsan_write##size(void* p) { simt::access(p, size, true, SIMT_HERE); }           \
  void __tsan_unaligned_read##size(void* p) { simt::access(p, size, false, SIMT_HERE); } \
  void __tsan_unaligned_write##size(void* p) { simt::access(p, size, true, SIMT_HERE); }
extern "C" {
SIMT_ACCESS(1)
SIMT_ACCESS(2)
SIMT_ACCESS(4)
SIMT_ACCESS(8)
SIMT_ACCESS(16)
void __tsan_read_range(void* p, size_t size) { simt::access(p, size, false, SIMT_HERE); }
void __tsan_write_range(void* p, size_t size) { simt::access(p, size, true, SIMT_HERE); }
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void __tsan_init() {}
unsigned __tsan_atomic32_fetch_add(volatile unsigned* p, unsigned value, int) {
  simt::access(const_cast<unsigned*>(p), 4, true, SIMT_HERE);
  return __atomic_fetch_add(p, value, __ATOMIC_RELAXED);
}
unsigned __tsan_atomic32_exchange(volatile unsigned* p, unsigned value, int) {
  simt::access(const_cast<unsigned*>(p), 4, true, SIMT_HERE);
  return __atomic_exchange_n(p, value, __ATOMIC_RELAXED);
}
}
