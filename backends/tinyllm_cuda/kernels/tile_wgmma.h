// Tiles in shared memory as TMA brings them, rings of them, and their products by wgmma.
//
// A row of a tile lies in panels of 128 bytes: WIDTH is D, rounded up, and what lies past D is 0.
// TMA permutes the 16-byte pieces of eight rows, the "128-byte swizzle", so that they lie in
// different banks, and wgmma is told of it by a descriptor.
#pragma once
#include <ptx_sm90.h>
#include "fragment.h"
#ifdef FP8
typedef unsigned char element_t;
#else
typedef half_t element_t;
#endif
#define PANEL (128 / (int)sizeof(element_t))  // columns of a panel
#define STEP_K (PANEL / 4)                    // that a product multiplies: 32 bytes
#define WIDTH ((D + PANEL - 1) / PANEL * PANEL)
#define WARPGROUPS 2                          // that compute; one more brings their tiles
#define THREADS (128 * (WARPGROUPS + 1))
#define BOX 64                                // rows of a box of TMA, whose columns are a panel
extern __shared__ __align__(1024) unsigned char shared[];

template <int ROWS, int COLUMNS = WIDTH>
struct alignas(1024) Tile {
  element_t panel[COLUMNS / PANEL][ROWS][PANEL];
};

// Tiles that one warp fills in turn, and WARPGROUPS warpgroups use. Step s has tile s % N.
template <int ROWS, int N, int COLUMNS = WIDTH>
struct Ring {
  Tile<ROWS, COLUMNS> tiles[N];
  mbarrier_t full[N], free[N];

  __device__ __forceinline__ void init() {
    for (int stage = 0; stage < N; stage++) {
      mbarrier_init(full[stage], 1);
      mbarrier_init(free[stage], 4 * WARPGROUPS);  // a lane of each warp
    }
  }
  __device__ __forceinline__ Tile<ROWS, COLUMNS> &tile(int step) { return tiles[step % N]; }
  __device__ __forceinline__ void load(int step, const CUtensorMap &map, int row, int head,
                                       int column = 0) {
    mbarrier_t &arrived = full[step % N];
    mbarrier_wait(free[step % N], step / N % 2 ^ 1);
    mbarrier_arrive_expecting(arrived, sizeof tiles[0].panel);
    for (int p = 0; p < COLUMNS / PANEL; p++)
      for (int r = 0; r < ROWS; r += BOX)
        tma_load(tile(step).panel[p][r], map, arrived, column + PANEL * p, row + r, head);
  }
  __device__ __forceinline__ const Tile<ROWS, COLUMNS> &wait(int step) {
    mbarrier_wait(full[step % N], step / N % 2);
    return tile(step);
  }
  __device__ __forceinline__ void release(int step) {
    if (threadIdx.x % 32 == 0) mbarrier_arrive(free[step % N]);
  }
};

// Describe rows of a panel, with 1024 bytes from each eight to the next, and the 128-byte swizzle.
// `between` is the distance of panels in bytes, for factors that span some.
__device__ __forceinline__ unsigned long long descriptor(const element_t *rows,
                                                         unsigned between) {
  return (unsigned long long)((shared_address(rows) & 0x3ffff) >> 4) |
         (unsigned long long)(between >> 4) << 16 | 1024ull >> 4 << 32 | 1ull << 62;
}

// Begin s = a bᵀ for rows row0 … row0 + 63 of tile a, and all of tile b.
template <int N, int ROWS>
__device__ __forceinline__ void start_abt(float (&s)[N][4], const Tile<ROWS> &a, int row0,
                                          const Tile<8 * N> &b) {
#pragma unroll
  for (int k = 0; k < D / STEP_K; k++)
    wgmma_abt(s, descriptor(a.panel[k / 4][row0] + k % 4 * STEP_K, 16),
              descriptor(b.panel[k / 4][0] + k % 4 * STEP_K, 16), k > 0);
}

#ifdef FP8
// Begin acc += p bᵀ for scores p (64, 32 K) in registers and tile b, whose rows are as many.
template <int K>
__device__ __forceinline__ void start_pb(float (&acc)[D / 8][4], const unsigned (&p)[K][4],
                                         const Tile<D, 32 * K> &b) {
#pragma unroll
  for (int k = 0; k < K; k++)
    wgmma_pb(acc, p[k], descriptor(b.panel[k / 4][0] + k % 4 * STEP_K, 16));
}
#else
// Begin acc += p b for scores p (64, 16 K) in registers and tile b.
template <int K>
__device__ __forceinline__ void start_pb(float (&acc)[WIDTH / 8][4], const unsigned (&p)[K][4],
                                         const Tile<16 * K> &b) {
#pragma unroll
  for (int k = 0; k < K; k++)
    wgmma_pb(acc, p[k], descriptor(b.panel[0][16 * k], sizeof b.panel[0]));
}
#endif
