// Tiles of 64 rows in shared memory and their products, in float32, by 256 threads.
//
// The threads are a square of 16 by 16. Thread (ty, tx) has rows 4 ty … 4 ty + 3 of a product and
// columns tx, tx + 16, …: a row's 16 threads are half a warp, so its sum needs no shared memory.
#pragma once
#define ROWS 64
#define LD (D + 4)     // floats from one row of a tile to the next: 4 more, for the banks
#define LP (ROWS + 4)  // the same of a tile of scores
#define PART (D / 16)  // columns of D that a thread has
#define FULL 0xffffffffu
#define MINUS_INFINITY (-__uint_as_float(0x7f800000u))

// Copy rows row0 … row0 + 63 of `from` (rows, D) to a tile; rows past the end are 0.
__device__ __forceinline__ void load_tile(float *tile, const float *from, int row0, int rows) {
  for (int i = threadIdx.x; i < ROWS * (D / 4); i += 256) {
    int r = i / (D / 4), c = i % (D / 4) * 4;
    float4 x = make_float4(0, 0, 0, 0);
    if (row0 + r < rows) x = *(const float4 *)(from + (long long)(row0 + r) * D + c);
    *(float4 *)(tile + r * LD + c) = x;
  }
}

// s += a bᵀ for tiles a, b (64, D)
__device__ __forceinline__ void add_abt(float (&s)[4][4], const float *a, const float *b) {
  int ty = threadIdx.x / 16, tx = threadIdx.x % 16;
#pragma unroll 4
  for (int k = 0; k < D; k++) {
    float x[4], y[4];
#pragma unroll
    for (int i = 0; i < 4; i++) x[i] = a[(4 * ty + i) * LD + k];
#pragma unroll
    for (int j = 0; j < 4; j++) y[j] = b[(tx + 16 * j) * LD + k];
#pragma unroll
    for (int i = 0; i < 4; i++)
#pragma unroll
      for (int j = 0; j < 4; j++) s[i][j] += x[i] * y[j];
  }
}

// acc += p b, or pᵀ b, for scores p (64, 64) and a tile b (64, D)
template <bool TRANSPOSED>
__device__ __forceinline__ void add_pb(float (&acc)[4][PART], const float *p, const float *b) {
  int ty = threadIdx.x / 16, tx = threadIdx.x % 16;
#pragma unroll 4
  for (int k = 0; k < ROWS; k++) {
    float x[4], y[PART];
#pragma unroll
    for (int i = 0; i < 4; i++) x[i] = TRANSPOSED ? p[k * LP + 4 * ty + i] : p[(4 * ty + i) * LP + k];
#pragma unroll
    for (int j = 0; j < PART; j++) y[j] = b[k * LD + tx + 16 * j];
#pragma unroll
    for (int i = 0; i < 4; i++)
#pragma unroll
      for (int j = 0; j < PART; j++) acc[i][j] += x[i] * y[j];
  }
}

__device__ __forceinline__ void store_scores(float *p, const float (&s)[4][4]) {
  int ty = threadIdx.x / 16, tx = threadIdx.x % 16;
#pragma unroll
  for (int i = 0; i < 4; i++)
#pragma unroll
    for (int j = 0; j < 4; j++) p[(4 * ty + i) * LP + tx + 16 * j] = s[i][j];
}

// Write rows row0 … of `to` (rows, D) from what the threads have of them.
__device__ __forceinline__ void store_rows(float *to, const float (&acc)[4][PART], int row0, int rows) {
  int ty = threadIdx.x / 16, tx = threadIdx.x % 16;
#pragma unroll
  for (int i = 0; i < 4; i++) {
    int row = row0 + 4 * ty + i;
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
