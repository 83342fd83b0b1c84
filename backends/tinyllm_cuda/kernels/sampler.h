// What a block does together to choose a token: sums, and a cut through an order.
#pragma once
#include "number.h"
#include "key.h"
#define WARPS 16
#define THREADS (32 * WARPS)

// Combines what the threads of a block have, in one order, so that reruns give the same bits; each
// gets the result. Of two places for what the warps have, the next is used while some may still
// read the last.
template <class T>
struct Together {
  T *parts;  // 2 WARPS of them, in shared memory
  int side = 0;

  template <class Combine>
  __device__ __forceinline__ T all(T x, Combine combine) {
    T *mine = parts + side * WARPS;
    side = 1 - side;
#pragma unroll
    for (int d = 16; d; d /= 2) x = combine(x, __shfl_xor_sync(FULL, x, d));
    if (threadIdx.x % 32 == 0) mine[threadIdx.x / 32] = x;
    __syncthreads();  // the parts of all warps are there
    x = mine[0];
    for (int warp = 1; warp < WARPS; warp++) x = combine(x, mine[warp]);
    return x;
  }
  __device__ __forceinline__ T sum(T x) {
    return all(x, [](T a, T b) { return a + b; });
  }
  __device__ __forceinline__ T largest(T x) {
    return all(x, [](T a, T b) { return a < b ? b : a; });
  }
};

// Find where to cut: the highest key of which those that are as high are enough. measure(key) says
// how much they are, and how many; those from `low` on, `from_low` of them, are enough. Halves the
// range between low and high, an upper bound, until one is left in it.
template <class Measure>
__device__ __forceinline__ u64 cut(u64 low, double from_low, u64 high, double enough,
                                   Measure measure) {
  double above = 0;
  while (from_low - above > 1 && high - low > 1) {
    const u64 middle = low + (high - low) / 2;
    const auto part = measure(middle);
    if (part.amount >= enough)
      low = middle, from_low = part.count;
    else
      high = middle, above = part.count;
  }
  return low;
}
struct Measured {
  double amount, count;
};
