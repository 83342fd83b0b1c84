// The vector of a product, brought to shared memory by a block, normalised on the way or not.
#pragma once
#include "weights.h"
extern __shared__ __align__(1024) unsigned char shared[];

// Copy x (C,) to its places; returns where they begin.
__device__ __forceinline__ const float *load_vector(const float *x, int C) {
  float *y = (float *)shared;
  for (int i = threadIdx.x; i < C; i += blockDim.x) y[place(i)] = x[i];
  __syncthreads();  // all of y is there
  return y;
}
// The same of RMSNorm: y = g ⊙ x / sqrt(mean(x²) + ε) (tinyllm.ops.norms.rmsnorm_forward). Each
// block does it anew: x is short, and in the cache.
__device__ __forceinline__ const float *load_normalised(const float *x, const float *gain, int C,
                                                        float eps) {
  float *y = (float *)shared + 32, *parts = (float *)shared, squares = 0;
  for (int i = threadIdx.x; i < C; i += blockDim.x) squares += x[i] * x[i];
  squares = warp_sum(squares);
  if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = squares;
  __syncthreads();  // the sums of all warps are there
  squares = 0;
  for (int warp = 0; warp < blockDim.x / 32; warp++) squares += parts[warp];
  const float rstd = 1 / sqrtf(squares / C + eps);
  for (int i = threadIdx.x; i < C; i += blockDim.x) y[place(i)] = x[i] * rstd * gain[i];
  __syncthreads();  // all of y is there
  return y;
}
// Tasks are dealt to the warps of a grid: for (int task = first_task(); …; task += all_warps())
__device__ __forceinline__ int first_task() {
  return blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32;
}
__device__ __forceinline__ int all_warps() { return gridDim.x * (blockDim.x / 32); }
