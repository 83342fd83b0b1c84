// Tiles of 16-bit rows in shared memory, and their products by mma.sync, by four warps.
//
// Each warp has 16 rows of a product. Rows of a tile are 8 numbers longer than they need be, so
// that the eight that ldmatrix reads at once lie in different banks.
#pragma once
#include "fragment.h"
#define THREADS 128
#define LD (D + 8)
#define PIECES (D / 8)  // of 16 bytes, that a row is copied in
extern __shared__ __align__(1024) unsigned char shared[];

// Begin to copy rows row0 … of `from` (rows, D) to a tile of N rows; rows past the end are 0.
template <int N>
__device__ __forceinline__ void load_tile(half_t *tile, const half_t *from, int row0, int rows) {
#pragma unroll
  for (int n = 0; n < (N * PIECES + THREADS - 1) / THREADS; n++) {
    const int i = threadIdx.x + n * THREADS, r = i / PIECES, p = i % PIECES;
    const bool valid = row0 + r < rows;
    const half_t *piece = from + (long long)(valid ? row0 + r : 0) * D + p * 8;
    if (N * PIECES % THREADS == 0 || i < N * PIECES)
      cp_async16(tile + r * LD + p * 8, piece, valid);
  }
}

// s += a bᵀ for 16 rows of tile a from row0 on, and all 8 N of tile b
template <int N>
__device__ __forceinline__ void add_abt(float (&s)[N][4], const half_t *a, int row0,
                                        const half_t *b) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int k = 0; k < D; k += 16) {
    unsigned x[4], y[4];
    ldmatrix_x4(x, a + (row0 + lane % 16) * LD + k + lane / 16 * 8);
#pragma unroll
    for (int n = 0; n < N; n += 2) {
      ldmatrix_x4(y, b + (n * 8 + lane % 8 + lane / 16 * 8) * LD + k + lane / 8 % 2 * 8);
      mma_m16n8k16(s[n], x, y[0], y[1]);
      mma_m16n8k16(s[n + 1], x, y[2], y[3]);
    }
  }
}

// acc += p b for 16 rows of scores, rounded to 16 bits, and 8 N columns of tile b
template <int N, int K>
__device__ __forceinline__ void add_pb(float (&acc)[N][4], const float (&p)[K][4],
                                       const half_t *b) {
  const int lane = threadIdx.x % 32;
  unsigned x[K / 2][4], y[4];
  as_factor<K>(x, p);
#pragma unroll
  for (int k = 0; k < K / 2; k++)
#pragma unroll
    for (int n = 0; n < N; n += 2) {
      ldmatrix_x4_t(y, b + (k * 16 + lane % 16) * LD + n * 8 + lane / 16 * 8);
      mma_m16n8k16(acc[n], x[k], y[0], y[1]);
      mma_m16n8k16(acc[n + 1], x[k], y[2], y[3]);
    }
}
