// Round blocks of 128 rows to e4m3, each by a scale s = max |x| / 448: y = round(x / s). With HADAMARD
// rows are rotated first, y = x diag(signs) H / √D, by which no feature stands out: incoherent
// processing, section 3.3 of Shah et al. 2024 (arXiv:2407.08608). With VALUES the result is
// transposed, and its keys lie in the order in which flash_fp8.cu holds scores of them.
// tinyllm/ops/fp8.py computes the same.
//
// x (heads, T, D), signs (D,) -> y (heads, T, D), or (heads, D, T') for VALUES, scales (heads, T'/128)
#include <ptx_sm90.h>
#include "scores.h"
#define ROWS 128  // and threads: each has a row
#define LD (D + 1)
extern __shared__ __align__(1024) unsigned char shared[];

// Which row of 32 lies at a place of 32: see as_factor8.
__device__ __forceinline__ int row_at(int place) {
  return place / 16 * 16 + place % 4 / 2 * 8 + place % 16 / 4 * 2 + place % 2;
}

// Multiply a row by Hadamard's matrix, in log D steps: (a, b) to (a + b, a - b) at each distance.
__device__ __forceinline__ void hadamard(float *x) {
  for (int width = 1; width < D; width *= 2)
    for (int c = 0; c < D; c++)
      if (!(c & width)) {
        const float a = x[c], b = x[c + width];
        x[c] = a + b, x[c + width] = a - b;
      }
}

extern "C" __global__ void __launch_bounds__(ROWS, 1)
    quantize(const half_t *x, const float *signs, unsigned *y, float *scales, int T) {
  float *tile = (float *)shared, *largest = tile + ROWS * LD;
  const int r0 = blockIdx.x * ROWS, head = blockIdx.y;
  x += (long long)head * T * D;
  for (int i = threadIdx.x; i < ROWS * D / 2; i += ROWS) {
    const int r = i / (D / 2), c = i % (D / 2) * 2;
    const unsigned pair = r0 + r < T ? *(const unsigned *)(x + (long long)(r0 + r) * D + c) : 0;
    tile[r * LD + c] = low_half(pair), tile[r * LD + c + 1] = high_half(pair);
  }
  __syncthreads();  // the tile is there
  float *row = tile + threadIdx.x * LD, most = 0;
#ifdef HADAMARD
  for (int c = 0; c < D; c++) row[c] *= signs[c];
  hadamard(row);
  for (int c = 0; c < D; c++) row[c] *= rsqrtf((float)D);
#endif
  for (int c = 0; c < D; c++) most = fmaxf(most, fabsf(row[c]));
  largest[threadIdx.x] = most;
  __syncthreads();  // all rows are rotated, and their largest numbers known
  for (int r = 0; r < ROWS; r++) most = fmaxf(most, largest[r]);
  const float scale = most > 0 ? most / 448 : 1;
  if (threadIdx.x == 0) scales[head * gridDim.x + blockIdx.x] = scale;
  for (int i = threadIdx.x; i < ROWS * D / 4; i += ROWS) {
    float z[4];
#ifdef VALUES
    const int c = i / (ROWS / 4), place = i % (ROWS / 4) * 4;
    for (int e = 0; e < 4; e++) {
      const int r = (place + e) / 32 * 32 + row_at((place + e) % 32);
      z[e] = tile[r * LD + c] / scale;
    }
    const long long at = ((long long)head * D + c) * (gridDim.x * ROWS) + r0 + place;
#else
    const int r = i / (D / 4), c = i % (D / 4) * 4;
    for (int e = 0; e < 4; e++) z[e] = tile[r * LD + c + e] / scale;
    const long long at = ((long long)head * T + r0 + r) * D + c;
    if (r0 + r >= T) continue;
#endif
    y[at / 4] = pack4(z[0], z[1], z[2], z[3]);
  }
}
