// Hopper's instructions (sm_90a) as functions: mbarrier, TMA, named barriers, wgmma, setmaxnreg
// (PTX ISA 8.0, 9.7). A warpgroup is four warps, of which each has 16 of a product's 64 rows.
//
// With FP8 the factors of products are of e4m3, 8 bits, and rows of both are what is summed over.
#pragma once
#include <ptx_sm80.h>
#ifdef FP8
#define WGMMA_TYPES "k32.f32.e4m3.e4m3"
#define NOT_TRANSPOSED ""
#define B_TRANSPOSED ""
#else
#define WGMMA_TYPES "k16.f32." HALF "." HALF
#define NOT_TRANSPOSED ", 0, 0"
#define B_TRANSPOSED ", 1"
#endif

// What describes a tensor in memory to TMA; it is made by tensor_map.py.
struct alignas(64) CUtensorMap {
  unsigned long long opaque[16];
};

// A barrier in shared memory: its phase ends when all arrivals, and all bytes expected, have come.
typedef unsigned long long mbarrier_t;
__device__ __forceinline__ void mbarrier_init(mbarrier_t &barrier, int arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(&barrier)),
               "r"(arrivals) : "memory");
}
// Let TMA see the barriers that were initialised.
__device__ __forceinline__ void mbarrier_init_fence() {
  asm volatile("fence.mbarrier_init.release.cluster; fence.proxy.async;" ::: "memory");
}
__device__ __forceinline__ void mbarrier_arrive(mbarrier_t &barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(&barrier))
               : "memory");
}
__device__ __forceinline__ void mbarrier_arrive_expecting(mbarrier_t &barrier, int bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(
                   shared_address(&barrier)), "r"(bytes) : "memory");
}
// Wait for the end of the phase that has this parity; the phase before the first, 0, has ended.
__device__ __forceinline__ void mbarrier_wait(mbarrier_t &barrier, int parity) {
  unsigned done;
  do asm volatile("{.reg .pred p; mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2; "
                  "selp.b32 %0, 1, 0, p;}"
                  : "=r"(done) : "r"(shared_address(&barrier)), "r"(parity) : "memory");
  while (!done);
}

// Copy the map's box of a tensor (heads, rows, columns) from where it begins; zeros past the ends.
__device__ __forceinline__ void tma_load(void *to, const CUtensorMap &map, mbarrier_t &barrier,
                                         int column, int row, int head) {
  asm volatile("cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes "
               "[%0], [%1, {%3, %4, %5}], [%2];" ::"r"(shared_address(to)), "l"(&map),
               "r"(shared_address(&barrier)), "r"(column), "r"(row), "r"(head) : "memory");
}

// Wait at, or only arrive at, one of the block's sixteen barriers, of which __syncthreads is 0.
__device__ __forceinline__ void named_sync(int barrier, int threads) {
  asm volatile("bar.sync %0, %1;" ::"r"(barrier), "r"(threads) : "memory");
}
__device__ __forceinline__ void named_arrive(int barrier, int threads) {
  asm volatile("bar.arrive %0, %1;" ::"r"(barrier), "r"(threads) : "memory");
}

// Change the number of registers that each thread of this warpgroup has.
template <int N>
__device__ __forceinline__ void take_registers() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(N));
}
template <int N>
__device__ __forceinline__ void give_registers() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(N));
}

// Products run on their own: registers must be ready at a fence before, and those of a product are
// not to be touched before it has ended: a wait ends all groups but the last PENDING. The compiler
// is told that they change there, so that it moves no use of them up.
__device__ __forceinline__ void wgmma_fence() {
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}
__device__ __forceinline__ void wgmma_commit() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
template <int N>
__device__ __forceinline__ void changed(float (&d)[N][4]) {
#pragma unroll
  for (int n = 0; n < N; n++)
#pragma unroll
    for (int e = 0; e < 4; e++) asm volatile("" : "+f"(d[n][e])::"memory");
}
template <int PENDING, class... Products>
__device__ __forceinline__ void wgmma_wait(Products &...products) {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(PENDING) : "memory");
  (changed(products), ...);
}

// The registers of a product of 64 rows and 2 n columns
#define R_32 \
  "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, " \
  "%19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define R_64 R_32 ", " \
  "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, %48, " \
  "%49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define R_96 R_64 ", " \
  "%64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, %80, " \
  "%81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95"
#define R_128 R_96 ", " \
  "%96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, " \
  "%110, %111, %112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, " \
  "%124, %125, %126, %127"
#define D_4(n) "+f"(d[n][0]), "+f"(d[n][1]), "+f"(d[n][2]), "+f"(d[n][3])
#define D_16(n) D_4(n), D_4(n + 1), D_4(n + 2), D_4(n + 3)
#define D_32(n) D_16(n), D_16(n + 4)

// d = a bᵀ, or with `add` d += a bᵀ, for a (64, 16) and b (N, 16) in shared memory, as described; of
// 8 bits they have 32 columns.
#define WGMMA_ABT(N, REGISTERS, A, B, ADD, ...)                                                   \
  __device__ __forceinline__ void wgmma_abt(float (&d)[N / 8][4], unsigned long long a,           \
                                            unsigned long long b, bool add) {                     \
    asm volatile("{.reg .pred p; setp.ne.b32 p, " ADD ", 0; wgmma.mma_async.sync.aligned.m64n"    \
                 #N WGMMA_TYPES " {" REGISTERS "}, " A ", " B ", p, 1, 1" NOT_TRANSPOSED ";}"     \
                 : __VA_ARGS__ : "l"(a), "l"(b), "r"((int)add));                                  \
  }
WGMMA_ABT(64, R_32, "%32", "%33", "%34", D_32(0))
WGMMA_ABT(128, R_64, "%64", "%65", "%66", D_32(0), D_32(8))

// d += a b for a (64, 16) in registers, as mma_m16n8k16 has it, and b (16, N) in shared memory. Of 8
// bits a has 32 columns, a lane four for each two, and b is transposed, (N, 32).
#define WGMMA_PB(N, REGISTERS, A, B, ...)                                                         \
  __device__ __forceinline__ void wgmma_pb(float (&d)[N / 8][4], const unsigned (&a)[4],          \
                                           unsigned long long b) {                                \
    asm volatile("{.reg .pred p; setp.eq.b32 p, 0, 0; wgmma.mma_async.sync.aligned.m64n" #N       \
                 WGMMA_TYPES " {" REGISTERS "}, {" A "}, " B ", p, 1, 1" B_TRANSPOSED ";}"        \
                 : __VA_ARGS__ : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));             \
  }
WGMMA_PB(64, R_32, "%32, %33, %34, %35", "%36", D_32(0))
WGMMA_PB(128, R_64, "%64, %65, %66, %67", "%68", D_32(0), D_32(8))
WGMMA_PB(192, R_96, "%96, %97, %98, %99", "%100", D_32(0), D_32(8), D_32(16))
WGMMA_PB(256, R_128, "%128, %129, %130, %131", "%132", D_32(0), D_32(8), D_32(16), D_32(24))

#ifdef FP8
// Round four floats to e4m3, the first in the lowest byte; beyond ±448 to ±448.
__device__ __forceinline__ unsigned pack4(float a, float b, float c, float d) {
  unsigned short low, high;
  asm("cvt.rn.satfinite.e4m3x2.f32 %0, %1, %2;" : "=h"(low) : "f"(b), "f"(a));
  asm("cvt.rn.satfinite.e4m3x2.f32 %0, %1, %2;" : "=h"(high) : "f"(d), "f"(c));
  return low | (unsigned)high << 16;
}
#endif
