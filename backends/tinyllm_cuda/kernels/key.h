// The order of scores: the higher first, of equals that of the lower id.
#pragma once
typedef unsigned long long u64;

// A score and its id as one number; that of NaN is above all.
__device__ __forceinline__ u64 key_of(float score, int id) {
  const unsigned bits = __float_as_uint(score + 0.0f);  // -0 is 0
  const unsigned ordered = bits >> 31 ? ~bits : bits | 0x80000000u;
  return (u64)(score != score ? 0xffffffffu : ordered) << 32 | (unsigned)~id;
}
__device__ __forceinline__ int id_of(u64 key) { return ~(unsigned)key; }
__device__ __forceinline__ bool is_nan(u64 key) { return key >> 32 == 0xffffffffu; }
