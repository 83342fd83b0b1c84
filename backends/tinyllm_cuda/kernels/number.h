// Numbers as they are kept, and the sums of a warp. Wants ptx_f16.h to be there.
#pragma once
enum Format { F32, BF16, FP16, INT8, INT4 };  // the last two are of whole matrices: see weights.h
#define FULL 0xffffffffu

// A number in 32 or 16 bits; those of 16 are bits, and computed with as floats.
template <int KIND>
struct Number {
  typedef unsigned short Bits;
  static __device__ __forceinline__ float widen(Bits bits) {
    return KIND == BF16 ? __uint_as_float((unsigned)bits << 16) : float_of_f16(bits);
  }
  static __device__ __forceinline__ Bits round(float x) {  // to nearest, ties to even
    const unsigned bits = __float_as_uint(x);
    return KIND == BF16 ? (Bits)((bits + 0x7fff + (bits >> 16 & 1)) >> 16) : f16_of_float(x);
  }
};
template <>
struct Number<F32> {
  typedef float Bits;
  static __device__ __forceinline__ float widen(float x) { return x; }
  static __device__ __forceinline__ float round(float x) { return x; }
};

// Add up what the lanes have; each gets the sum.
__device__ __forceinline__ float warp_sum(float x) {
#pragma unroll
  for (int d = 16; d; d /= 2) x += __shfl_xor_sync(FULL, x, d);
  return x;
}
