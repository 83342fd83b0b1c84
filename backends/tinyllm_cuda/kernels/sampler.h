// What a block does together to choose a token: sums, and a cut through an order.
#pragma once
#include "number.h"
typedef unsigned long long u64;
#define WARPS 16
#define THREADS (32 * WARPS)

// A score and its id as one number, by which tokens are ordered: the higher score first, of equals
// the lower id. NaN comes before all.
__device__ __forceinline__ u64 key_of(float score, int id) {
  const unsigned bits = __float_as_uint(score + 0.0f);  // -0 is 0
  const unsigned ordered = bits >> 31 ? ~bits : bits | 0x80000000u;
  return (u64)(score != score ? 0xffffffffu : ordered) << 32 | (unsigned)~id;
}
__device__ __forceinline__ int id_of(u64 key) { return ~(unsigned)key; }
__device__ __forceinline__ bool is_nan(u64 key) { return key >> 32 == 0xffffffffu; }

// Combines what the threads of a block have, in one order, so that reruns give the same bits; each
// gets the result. Of two places for what the warps have, the next is used while some may still read
// the last.
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
// how much they are, and how many; those from `low` on are enough. Halves the range between low and
// high, an upper bound, until one item is left in it.
template <class Measure>
__device__ __forceinline__ u64 cut(u64 low, u64 high, double enough, Measure measure) {
  double above = 0, from_low = measure(low).count;
  while (from_low - above > 1) {
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
