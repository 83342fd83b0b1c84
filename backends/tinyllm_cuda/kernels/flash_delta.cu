// D of FlashAttention's backward pass, in 16 bits: line 4 of Algorithm 2 of Dao 2023
// (arXiv:2307.08691), for both tiers of tensor cores.
//
// o, do (rows, D) -> delta (rows,) = rowsum(dO ⊙ O), 16 threads to a row
#include <ptx_sm80.h>
#include "scores.h"
#define THREADS 128

extern "C" __global__ void __launch_bounds__(THREADS, 1)
    flash_delta(const half_t *o, const half_t *do_, float *delta, int rows) {
  const int row = blockIdx.x * (THREADS / 16) + threadIdx.x / 16;
  float sum = 0;
  if (row < rows)
    for (int c = threadIdx.x % 16 * 2; c < D; c += 32) {
      const unsigned x = *(const unsigned *)(o + (long long)row * D + c);
      const unsigned y = *(const unsigned *)(do_ + (long long)row * D + c);
      sum += low_half(x) * low_half(y) + high_half(x) * high_half(y);
    }
#pragma unroll
  for (int d = 8; d; d /= 2) sum += __shfl_xor_sync(FULL, sum, d, 16);
  if (row < rows && threadIdx.x % 16 == 0) delta[row] = sum;
}
