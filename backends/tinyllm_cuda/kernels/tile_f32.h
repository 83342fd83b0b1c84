// Tiles of ROWS rows (64, or 32 or 16 where shared memory is short) and their products, in float32.
//
// The 256 threads are a square of 16 by 16. Thread (ty, tx) has the EACH rows from EACH ty on of a
// product and columns tx, tx + 16, …: a row's 16 threads are half a warp, so its sum needs no
// shared memory.
#pragma once
#include "scores.h"
#define EACH (ROWS / 16)
#define LD (D + 4)     // floats from one row of a tile to the next: 4 more, for the banks
#define LP (ROWS + 4)  // the same of a tile of scores
#define PART (D / 16)  // columns of D that a thread has

// Copy rows row0 … row0 + ROWS - 1 of `from` (rows, D) to a tile; rows past the end are 0.
__device__ __forceinline__ void load_tile(float *tile, const float *from, int row0, int rows) {
  for (int i = threadIdx.x; i < ROWS * (D / 4); i += 256) {
    int r = i / (D / 4), c = i % (D / 4) * 4;
    float4 x = make_float4(0, 0, 0, 0);
    if (row0 + r < rows) x = *(const float4 *)(from + (long long)(row0 + r) * D + c);
    *(float4 *)(tile + r * LD + c) = x;
  }
}

// s += a bᵀ for tiles a, b
__device__ __forceinline__ void add_abt(float (&s)[EACH][EACH], const float *a, const float *b) {
  int ty = threadIdx.x / 16, tx = threadIdx.x % 16;
#pragma unroll 4
  for (int k = 0; k < D; k++) {
    float x[EACH], y[EACH];
#pragma unroll
    for (int i = 0; i < EACH; i++) x[i] = a[(EACH * ty + i) * LD + k];
#pragma unroll
    for (int j = 0; j < EACH; j++) y[j] = b[(tx + 16 * j) * LD + k];
#pragma unroll
    for (int i = 0; i < EACH; i++)
#pragma unroll
      for (int j = 0; j < EACH; j++) s[i][j] += x[i] * y[j];
  }
}

// acc += p b, or pᵀ b, for scores p and a tile b
template <bool TRANSPOSED>
__device__ __forceinline__ void add_pb(float (&acc)[EACH][PART], const float *p, const float *b) {
  int ty = threadIdx.x / 16, tx = threadIdx.x % 16;
#pragma unroll 4
  for (int k = 0; k < ROWS; k++) {
    float x[EACH], y[PART];
#pragma unroll
    for (int i = 0; i < EACH; i++)
      x[i] = TRANSPOSED ? p[k * LP + EACH * ty + i] : p[(EACH * ty + i) * LP + k];
#pragma unroll
    for (int j = 0; j < PART; j++) y[j] = b[k * LD + tx + 16 * j];
#pragma unroll
    for (int i = 0; i < EACH; i++)
#pragma unroll
      for (int j = 0; j < PART; j++) acc[i][j] += x[i] * y[j];
  }
}

__device__ __forceinline__ void store_scores(float *p, const float (&s)[EACH][EACH]) {
  int ty = threadIdx.x / 16, tx = threadIdx.x % 16;
#pragma unroll
  for (int i = 0; i < EACH; i++)
#pragma unroll
    for (int j = 0; j < EACH; j++) p[(EACH * ty + i) * LP + tx + 16 * j] = s[i][j];
}

// Write rows row0 … of `to` (rows, D) from what the threads have of them.
__device__ __forceinline__ void store_rows(float *to, const float (&acc)[EACH][PART], int row0,
                                           int rows) {
  int ty = threadIdx.x / 16, tx = threadIdx.x % 16;
#pragma unroll
  for (int i = 0; i < EACH; i++) {
    int row = row0 + EACH * ty + i;
    if (row >= rows) continue;
#pragma unroll
    for (int j = 0; j < PART; j++) to[(long long)row * D + tx + 16 * j] = acc[i][j];
  }
}

// Combine what the 16 threads of a row have; each gets the result.
__device__ __forceinline__ float row_max(float x) {
#pragma unroll
  for (int d = 8; d; d /= 2) x = fmaxf(x, __shfl_xor_sync(FULL, x, d, 16));
  return x;
}
__device__ __forceinline__ float row_sum(float x) {
#pragma unroll
  for (int d = 8; d; d /= 2) x += __shfl_xor_sync(FULL, x, d, 16);
  return x;
}
