// What tinyllm_cuda/kernels/ptx_sm90.h declares, without the instructions: the same functions in
// C++. TMA moves nothing before somebody waits for its barrier, or in shuffled order moves it at
// once; a product is made when a warp waits for it. That there are fences is checked: here they
// order nothing.
#pragma once
#include <ptx_sm80.h>

struct CUtensorMap {  // as module.py makes it; not aligned as NVIDIA's, for NumPy's memory is not
  const unsigned char *base;
  long long sizes[3], strides[2];  // columns, rows, heads; bytes from row to row, and head to head
  int columns, rows;               // of a box
  unsigned char unused[72];
};
static_assert(sizeof(CUtensorMap) == 128, "a tensor map has 128 bytes");

typedef unsigned long long mbarrier_t;

namespace emulator {
#ifdef FP8
constexpr int BYTES = 1;
inline float to_element(unsigned bits) {  // of e4m3
  const int exponent = bits >> 3 & 15, mantissa = bits & 7;
  const float x = exponent ? ldexpf(8 + mantissa, exponent - 10) : ldexpf(mantissa, -9);
  return bits & 128 ? -x : x;
}
inline unsigned to_e4m3(float x) {  // to nearest, ties to even; beyond ±448 to ±448
  const unsigned sign = __float_as_uint(x) >> 31 << 7;
  if (std::isnan(x)) return 127;
  const float size = std::min(fabsf(x), 448.0f);
  const int exponent = size ? std::max(ilogbf(size), -6) : -6;
  const int steps = (int)nearbyintf(ldexpf(size, 3 - exponent));  // 16 of them are the next power
  return sign | (unsigned)(steps + (exponent + 6) * 8);
}
#else
constexpr int BYTES = 2;
inline float to_element(unsigned bits) { return to_float((unsigned short)bits); }
#endif
constexpr int K = 32 / BYTES;  // that a product multiplies

struct Mbarrier {
  short pending, arrivals;
  int bytes : 31;
  unsigned phase : 1;
};
static_assert(sizeof(Mbarrier) == sizeof(mbarrier_t), "");
inline Mbarrier &at(mbarrier_t &barrier) { return *(Mbarrier *)&barrier; }
inline void end_phase(Mbarrier &barrier) {
  if (barrier.pending || barrier.bytes) return;
  barrier.phase ^= 1;
  barrier.pending = barrier.arrivals;
  progress();
}
inline unsigned swizzled(unsigned address) { return address ^ (address >> 7 & 7) << 4; }
inline float element_at(unsigned address) {
  unsigned bits = 0;
  memcpy(&bits, shared + swizzled(address), BYTES);
  return to_element(bits);
}

// A warp's 16 rows of a product; each of its 32 lanes has issued it.
inline void multiply(const std::vector<const Wgmma *> &lanes, int row0) {
  const Wgmma &w = *lanes[0];
  static thread_local float A[16][K], B[K][256], C[16][256];
  const unsigned long long a = w.a_descriptor, b = w.b_descriptor;
  if (b >> 62 != 1 || (!w.a_in_registers && a >> 62 != 1))
    refuse("wgmma: only the 128-byte swizzle is emulated");
  const unsigned a0 = (a & 0x3fff) << 4, a_eight_rows = (a >> 32 & 0x3fff) << 4;
  const unsigned b0 = (b & 0x3fff) << 4, b_eight_rows = (b >> 32 & 0x3fff) << 4;
  const unsigned b_panel = (b >> 16 & 0x3fff) << 4;
  for (int i = 0; i < 16; i++)
    for (int k = 0; k < K; k++) {
      const int row = row0 + i, each = 4 / BYTES, lane = i % 8 * 4 + k % (4 * each) / each;
      const unsigned bits = lanes[lane]->a[i / 8 + k / (4 * each) * 2] >> 8 * BYTES * (k % each);
      A[i][k] = w.a_in_registers
                    ? to_element(bits & (1 << 8 * BYTES) - 1)
                    : element_at(a0 + row / 8 * a_eight_rows + row % 8 * 128 + BYTES * k);
    }
  for (int k = 0; k < K; k++)
    for (int n = 0; n < w.columns; n++)
      B[k][n] = element_at(
          w.transposed && BYTES == 2
              ? b0 + n / 64 * b_panel + k / 8 * b_eight_rows + k % 8 * 128 + n % 64 * 2
              : b0 + n / 8 * b_eight_rows + n % 8 * 128 + BYTES * k);
  auto each = [&](auto act) {
    for (int lane = 0; lane < 32; lane++)
      for (int i = 0; i < w.columns / 2; i++)
        act(lanes[lane]->d[i], C[lane / 4 + i % 4 / 2 * 8][i / 4 * 8 + lane % 4 * 2 + i % 2]);
  };
  each([&](float &d, float &c) { c = w.accumulate ? d : 0; });
  for (int i = 0; i < 16; i++)
    for (int k = 0; k < K; k++)
      for (int n = 0; n < w.columns; n++) C[i][n] += A[i][k] * B[k][n];
  each([](float &d, float &c) { d = c; });
}

inline void issue(Wgmma w) {
  if (!self().fenced) refuse("wgmma: no wgmma.fence since registers were last free to change");
  self().open_wgmmas.push_back(w);
}
inline void wait_for_groups(size_t pending) {
  char nothing = 0;
  meet(~0u, &nothing, 1, [=](auto &, auto &) {
    const int first = self().linear / 32 * 32;
    Fiber *lanes = &block->fibers[first];
    while (lanes[0].committed_wgmmas.size() > pending) {
      for (size_t i = 0; i < lanes[0].committed_wgmmas[0].size(); i++) {
        std::vector<const Wgmma *> issued;
        for (int lane = 0; lane < 32; lane++) issued.push_back(&lanes[lane].committed_wgmmas[0][i]);
        multiply(issued, first % 128 / 32 * 16);
      }
      for (int lane = 0; lane < 32; lane++)
        lanes[lane].committed_wgmmas.erase(lanes[lane].committed_wgmmas.begin());
    }
  });
}
}  // namespace emulator

static inline void mbarrier_init(mbarrier_t &barrier, int arrivals) {
  emulator::at(barrier) = {(short)arrivals, (short)arrivals, 0, 0};
  emulator::block->fenced = false;
}
static inline void mbarrier_init_fence() { emulator::block->fenced = true; }
static inline void mbarrier_arrive_expecting(mbarrier_t &barrier, int bytes) {
  auto &b = emulator::at(barrier);
  b.bytes += bytes;
  b.pending--;
  emulator::end_phase(b);
}
static inline void mbarrier_arrive(mbarrier_t &barrier) { mbarrier_arrive_expecting(barrier, 0); }
static inline void mbarrier_wait(mbarrier_t &barrier, int parity) {
  auto &copies = emulator::block->tensor_copies;
  while ((int)emulator::at(barrier).phase == parity) {
    auto mine = [&](auto &copy) { return copy.barrier == &barrier; };
    auto copy = std::find_if(copies.begin(), copies.end(), mine);
    if (copy == copies.end()) {
      emulator::yield();
    } else {
      auto run = std::move(copy->run);
      copies.erase(copy);
      run();
    }
  }
}
static inline void tma_load(void *to, const CUtensorMap &map, mbarrier_t &barrier, int column,
                            int row, int head) {
  if (!emulator::block->fenced) emulator::refuse("TMA: its barrier has no fence after it was made");
  constexpr int BYTES = emulator::BYTES;
  const unsigned at = shared_address(to);
  if (at % 1024) emulator::refuse("TMA: the 128-byte swizzle needs a box to begin at 1024 bytes");
  auto run = [=, &map, &barrier] {
    for (int r = 0; r < map.rows; r++)
      for (int c = 0; c < map.columns; c++) {
        const bool inside = row + r < map.sizes[1] && column + c < map.sizes[0];
        unsigned char *cell = shared + emulator::swizzled(at + (r * map.columns + c) * BYTES);
        const auto *from = map.base + head * map.strides[1] + (row + r) * map.strides[0];
        if (inside) memcpy(cell, from + (column + c) * BYTES, BYTES);
        else memset(cell, 0, BYTES);
      }
    emulator::at(barrier).bytes -= map.rows * map.columns * BYTES;
    emulator::end_phase(emulator::at(barrier));
  };
  if (emulator::block->order == emulator::SHUFFLED) run();
  else emulator::block->tensor_copies.push_back({&barrier, run});
}

static inline void named_sync(int id, int threads) { emulator::barrier_wait(id, threads); }
static inline void named_arrive(int id, int threads) { emulator::barrier_arrive(id, threads); }
template <int N>
static inline void take_registers() {}
template <int N>
static inline void give_registers() {}

static inline void wgmma_fence() { emulator::self().fenced = true; }
static inline void wgmma_commit() {
  auto &fiber = emulator::self();
  fiber.committed_wgmmas.push_back(std::move(fiber.open_wgmmas));
  fiber.open_wgmmas.clear();
}
template <int PENDING, class... Products>
static inline void wgmma_wait(Products &...) {
  emulator::wait_for_groups(PENDING);
  emulator::self().fenced = false;
}
template <int N>
static inline void wgmma_abt(float (&d)[N][4], unsigned long long a, unsigned long long b,
                             bool add) {
  emulator::issue({d[0], 8 * N, add, false, false, {}, a, b});
}
template <int N>
static inline void wgmma_pb(float (&d)[N][4], const unsigned (&a)[4], unsigned long long b) {
  emulator::issue({d[0], 8 * N, true, true, true, {a[0], a[1], a[2], a[3]}, 0, b});
}
#ifdef FP8
static inline unsigned pack4(float a, float b, float c, float d) {
  auto pair = [](float x, float y) { return emulator::to_e4m3(x) | emulator::to_e4m3(y) << 8; };
  return pair(a, b) | pair(c, d) << 16;
}
#endif
