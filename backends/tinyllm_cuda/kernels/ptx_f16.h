// The conversions of float16, which C++ alone does not have (PTX ISA 8.0, 9.7.9.21).
#pragma once
__device__ __forceinline__ float float_of_f16(unsigned short bits) {
  float x;
  asm("cvt.f32.f16 %0, %1;" : "=f"(x) : "h"(bits));
  return x;
}
__device__ __forceinline__ unsigned short f16_of_float(float x) {  // to nearest, ties to even
  unsigned short bits;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(x));
  return bits;
}
