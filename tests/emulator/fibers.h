// Threads of a CUDA block as fibers: each runs until it waits for others, then the next one does.
//
// Blocks are shared among two threads of the operating system; the fibers of one block never run at
// once, so a kernel's mistake is found by making its luck bad. The order of fibers is chosen by the
// caller, and shared memory begins as NaN. Two orders take turns after each step of a warp, and do
// late what CUDA does asynchronously; in shuffled order a warp runs ahead of the others for as long
// as it can, and copies are done at once. So a missing barrier or wait shows as a wrong number. If
// all fibers wait, that is an error.
#pragma once
#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>
#ifndef __x86_64__
#include <ucontext.h>
#endif

struct dim3 {
  unsigned x, y, z;
};

// What kernels declare as `extern __shared__ unsigned char shared[];`, as large as any GPU has it.
inline thread_local unsigned char shared[227 * 1024] __attribute__((aligned(1024)));

namespace emulator {
constexpr size_t STACK_BYTES = 64 * 1024;
enum Order { FORWARD, REVERSE, SHUFFLED };

// A copy by cp.async: nothing moves until somebody waits for it.
struct Copy {
  void *to;
  const void *from;
  int bytes, filled;  // `filled` of them from memory, the rest zeros
};

// A wgmma that was issued: what one thread knows of it.
struct Wgmma {
  float *d;
  int columns;
  bool accumulate, transposed, a_in_registers;
  unsigned a[4];
  unsigned long long a_descriptor, b_descriptor;
};

struct Fiber {
  void *stack_pointer = nullptr;
  char *stack = nullptr;
  dim3 index{};
  int linear = 0;
  bool done = false;
  std::vector<Copy> open_copies;
  std::vector<std::vector<Copy>> committed_copies;
  std::vector<Wgmma> open_wgmmas;
  std::vector<std::vector<Wgmma>> committed_wgmmas;
  bool fenced = false;  // whether a wgmma may use registers
#ifndef __x86_64__
  ucontext_t context;
#endif
};

// Where the lanes of a warp meet: each puts something in, one looks at all, each takes some out.
struct Warp {
  uint32_t meeting[32] = {}, arrived = 0;
  alignas(16) unsigned char in[2][32][64], out[2][32][64];
};

struct Barrier {
  unsigned count = 0, phase = 0;
};

// A copy by TMA that was asked for.
struct TensorCopy {
  void *barrier;
  std::function<void()> run;
};

struct Block {
  std::vector<Fiber> fibers;
  std::vector<Warp> warps;
  std::vector<int> next;  // the ring of fibers
  Barrier barriers[16];
  std::vector<TensorCopy> tensor_copies;
  dim3 index, grid, size;
  unsigned shared_bytes = 0;  // that the launch asks for
  int threads = 0, living = 0;
  long idle = 0;        // switches since something last happened
  bool fenced = false;  // whether TMA sees the barriers that were made
  int order = FORWARD;
  Fiber *current = nullptr;
  Fiber host;
  std::function<void()> kernel;
  const char *error = nullptr;
};
inline thread_local Block *block = nullptr;

inline Fiber &self() { return *block->current; }
inline void progress() { block->idle = 0; }

#ifdef __x86_64__
// Push the registers that a function must keep, exchange stacks, pop the other's: 21 ns, where
// swapcontext asks the kernel for the signal mask and takes twelve times as long.
extern "C" void emulator_switch(void **save, void *load);
asm(R"(.text
.p2align 4
.local emulator_switch
.type emulator_switch,@function
emulator_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
)");
inline void jump(Fiber &from, Fiber &to) { emulator_switch(&from.stack_pointer, to.stack_pointer); }
inline void prepare(Fiber &fiber, void (*entry)()) {
  void **top = (void **)(fiber.stack + STACK_BYTES - 56);  // leaves the stack as a call finds it
  *top = nullptr;
  *--top = (void *)entry;
  top -= 6;
  memset(top, 0, 6 * sizeof *top);
  fiber.stack_pointer = top;
}
#else
inline void jump(Fiber &from, Fiber &to) { swapcontext(&from.context, &to.context); }
inline void prepare(Fiber &fiber, void (*entry)()) {
  getcontext(&fiber.context);
  fiber.context.uc_stack.ss_sp = fiber.stack;
  fiber.context.uc_stack.ss_size = STACK_BYTES;
  fiber.context.uc_link = nullptr;
  makecontext(&fiber.context, entry, 0);
}
#endif

inline void jump_to(Fiber &to) {
  Fiber &from = self();
  block->current = &to;
  jump(from, to);
}
// End the launch with an error, from whatever fiber.
[[noreturn]] inline void refuse(const char *why) {
  block->error = why;
  jump_to(block->host);
  abort();
}
inline Fiber &next_living() {
  int i = self().linear;
  do i = block->next[i];
  while (block->fibers[i].done);
  return block->fibers[i];
}

// Let the next fiber run. A long ring of waiting fibers without any progress is a deadlock.
inline void yield() {
  if (++block->idle > 64L * block->threads + 1000)
    refuse("deadlock: every thread that still runs waits for one that does not come");
  Fiber &next = next_living();
  if (&next != &self()) jump_to(next);
}

// The same, but of the fibers of this warp as long as one of them gets anywhere.
inline void yield_to_warp() {
  if (block->order != SHUFFLED || block->idle >= 32) return yield();
  block->idle++;
  const int warp = self().linear / 32 * 32, lanes = std::min(32, block->threads - warp);
  int lane = self().linear - warp;
  do lane = (lane + 1) % lanes;
  while (block->fibers[warp + lane].done);
  if (&block->fibers[warp + lane] != &self()) jump_to(block->fibers[warp + lane]);
}

inline void fiber_main() {
  block->kernel();
  progress();
  self().done = true;
  jump_to(--block->living ? next_living() : block->host);
  abort();
}

inline void barrier_arrive(int id, unsigned threads) {
  Barrier &barrier = block->barriers[id];
  if (++barrier.count == threads) {
    barrier.count = 0;
    barrier.phase++;
    progress();
  }
}
inline void barrier_wait(int id, unsigned threads) {
  Barrier &barrier = block->barriers[id];
  unsigned phase = barrier.phase;
  barrier_arrive(id, threads);
  while (barrier.phase == phase) yield();
}

// Meet the lanes of `mask`: the last one to come calls `act` on what all put in; returns what this
// lane is to take out. Two buffers, since a fast lane may be at the next meeting already.
template <class Act>
inline unsigned char *meet(uint32_t mask, const void *in, size_t bytes, Act act) {
  Warp &warp = block->warps[self().linear / 32];
  int lane = self().linear % 32;
  uint32_t meeting = warp.meeting[lane];
  int side = meeting & 1;
  memcpy(warp.in[side][lane], in, bytes);
  warp.arrived |= 1u << lane;
  if ((warp.arrived & mask) == mask) {
    act(warp.in[side], warp.out[side]);
    warp.arrived &= ~mask;
    for (int i = 0; i < 32; i++)
      if (mask >> i & 1) warp.meeting[i]++;
    progress();
  } else {
    while (warp.meeting[lane] == meeting) yield_to_warp();
  }
  return warp.out[side][lane];
}
template <class T, class Source>
inline T shuffle(uint32_t mask, T value, Source source) {
  int lane = self().linear % 32;
  Warp &warp = block->warps[self().linear / 32];
  int side = warp.meeting[lane] & 1;
  meet(mask, &value, sizeof(T), [](auto &, auto &) {});
  T result;
  memcpy(&result, warp.in[side][source(lane)], sizeof(T));
  return result;
}

inline void begin(Block &b, long number, int order, unsigned seed) {
  const dim3 g = b.grid, s = b.size;
  b.index = {unsigned(number % g.x), unsigned(number / g.x % g.y), unsigned(number / g.x / g.y)};
  std::vector<int> ring(b.threads);
  for (int t = 0; t < b.threads; t++) ring[t] = order == REVERSE ? b.threads - 1 - t : t;
  uint64_t random = seed * 0x9E3779B97F4A7C15ull + number + 1;
  for (int t = b.threads - 1; order == SHUFFLED && t > 0; t--) {
    random ^= random << 13, random ^= random >> 7, random ^= random << 17;  // xorshift64
    std::swap(ring[t], ring[random % (t + 1)]);
  }
  for (int t = 0; t < b.threads; t++) b.next[ring[t]] = ring[(t + 1) % b.threads];
  for (auto &barrier : b.barriers) barrier = Barrier{};
  for (auto &warp : b.warps) {
    memset(warp.meeting, 0, sizeof warp.meeting);
    warp.arrived = 0;
  }
  b.tensor_copies.clear();
  b.living = b.threads;
  b.idle = 0;
  b.order = order;
  b.fenced = false;
  memset(shared, 0xff, sizeof shared);
  for (unsigned t = 0; t < unsigned(b.threads); t++) {
    Fiber &f = b.fibers[t];
    char *stack = f.stack;
    f = Fiber{};
    f.stack = stack;
    f.linear = t;
    f.index = {t % s.x, t / s.x % s.y, t / s.x / s.y};
    prepare(f, fiber_main);
  }
  b.current = &b.host;
  jump_to(b.fibers[ring[0]]);
  for (size_t i = b.shared_bytes; i < sizeof shared; i++)
    if (shared[i] != 0xff) b.error = "a kernel wrote beyond the shared memory that it has";
}

template <class... A, size_t... I>
inline void call(void (*kernel)(A...), void **arguments, std::index_sequence<I...>) {
  kernel(*(std::remove_reference_t<A> *)arguments[I]...);
}

// Run a grid; returns what went wrong, or null.
template <class... A>
inline const char *launch(void (*kernel)(A...), const dim3 *grid, const dim3 *size,
                          unsigned shared_bytes, int order, unsigned seed, void **arguments) {
  long blocks = (long)grid->x * grid->y * grid->z;
  std::atomic<long> taken{0};
  std::atomic<const char *> error{nullptr};
  auto work = [&] {
    Block b;
    block = &b;
    b.grid = *grid;
    b.size = *size;
    b.shared_bytes = shared_bytes;
    b.threads = size->x * size->y * size->z;
    b.fibers.resize(b.threads);
    b.warps.resize((b.threads + 31) / 32);
    b.next.resize(b.threads);
    b.kernel = [&] { call(kernel, arguments, std::index_sequence_for<A...>{}); };
    std::unique_ptr<char[]> stacks(new char[STACK_BYTES * b.threads + 64]);  // not written to: fast
    char *aligned = (char *)(((uintptr_t)stacks.get() + 63) / 64 * 64);
    for (int t = 0; t < b.threads; t++) b.fibers[t].stack = aligned + STACK_BYTES * t;
    for (long number; !error && (number = taken++) < blocks;) {
      begin(b, number, order, seed);
      if (b.error) error = b.error;
    }
    block = nullptr;
  };
  std::thread other(work);
  work();
  other.join();
  return error;
}
}  // namespace emulator

#define EMULATOR_EXPORT(kernel)                                                                   \
  extern "C" const char *emulator_##kernel(const dim3 *grid, const dim3 *size, unsigned shared,   \
                                           int order, unsigned seed, void **arguments) {          \
    return ::emulator::launch(kernel, grid, size, shared, order, seed, arguments);                \
  }
