// Ampere's instructions for tensor cores and asynchronous copies, as functions (PTX ISA 8.0, 9.7).
//
// Numbers of 16 bits are bits here, half_t: bfloat16, or with FP16 float16. What a lane holds of a
// matrix is written as in the PTX manual, with g = lane / 4 and t = lane % 4.
#pragma once
typedef unsigned short half_t;
#ifdef FP16
#define HALF "f16"
#else
#define HALF "bf16"
#endif

__device__ __forceinline__ unsigned shared_address(const void *p) {
  return (unsigned)__cvta_generic_to_shared(p);
}

// Copy 16 bytes to shared memory, or zeros where not `valid`, without waiting; a group is
// committed, and waited for until only the N last ones are still under way.
__device__ __forceinline__ void cp_async16(void *to, const void *from, bool valid) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)),
               "l"(from), "r"(valid ? 16 : 0) : "memory");
}
__device__ __forceinline__ void cp_async_commit() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}
template <int N>
__device__ __forceinline__ void cp_async_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
}

// Read four 8 by 8 matrices, whose rows the lanes point at (lane 8 m + r at row r of matrix m):
// each lane gets columns 2 t, 2 t + 1 of row g, or with _t of the transposed matrices.
__device__ __forceinline__ void ldmatrix_x4(unsigned (&r)[4], const void *row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(shared_address(row))
               : "memory");
}
__device__ __forceinline__ void ldmatrix_x4_t(unsigned (&r)[4], const void *row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(shared_address(row))
               : "memory");
}

// c += a b for a (16, 16), b (16, 8); c (16, 8) is float32. A lane holds rows g, g + 8 of a and c:
// c[0], c[1] are columns 2 t, 2 t + 1 of row g, and c[2], c[3] those of row g + 8.
__device__ __forceinline__ void mma_m16n8k16(float (&c)[4], const unsigned (&a)[4], unsigned b0,
                                             unsigned b1) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32." HALF "." HALF ".f32 {%0, %1, %2, %3}, "
               "{%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
               : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// Round two floats to 16 bits, the first in the low half; and back.
__device__ __forceinline__ unsigned pack2(float low, float high) {
  unsigned r;
  asm("cvt.rn." HALF "x2.f32 %0, %1, %2;" : "=r"(r) : "f"(high), "f"(low));
  return r;
}
#ifdef FP16
__device__ __forceinline__ float low_half(unsigned x) {
  float y;
  asm("{.reg .f16 l, h; mov.b32 {l, h}, %1; cvt.f32.f16 %0, l;}" : "=f"(y) : "r"(x));
  return y;
}
__device__ __forceinline__ float high_half(unsigned x) { return low_half(x >> 16); }
#else
__device__ __forceinline__ float low_half(unsigned x) { return __uint_as_float(x << 16); }
__device__ __forceinline__ float high_half(unsigned x) { return __uint_as_float(x & 0xffff0000u); }
#endif

// 2^x: the one exponential that the hardware has
__device__ __forceinline__ float exp2_fast(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
