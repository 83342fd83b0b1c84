// The words of CUDA C++ that the kernels use, for a C++ compiler: included before the kernel.
#pragma once
#include "fibers.h"
#define __global__
#define __device__
#define __forceinline__ inline __attribute__((always_inline))
#define __shared__ thread_local
#define __launch_bounds__(...)
#define __grid_constant__
#define __restrict__ __restrict
#define __align__(n) __attribute__((aligned(n)))
#define threadIdx (::emulator::self().index)
#define blockIdx (::emulator::block->index)
#define gridDim (::emulator::block->grid)
#define blockDim (::emulator::block->size)

using std::max;
using std::min;
struct alignas(8) uint2 {
  unsigned x, y;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
struct alignas(8) float2 {
  float x, y;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
static inline float2 make_float2(float x, float y) { return {x, y}; }
static inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }

static inline void __syncthreads() { emulator::barrier_wait(0, emulator::block->threads); }
static inline void __syncwarp(unsigned mask = ~0u) {
  char nothing = 0;
  emulator::meet(mask, &nothing, 1, [](auto &, auto &) {});
}
template <class T>
inline T __shfl_xor_sync(unsigned mask, T value, int distance, int width = 32) {
  return emulator::shuffle(mask, value, [=](int lane) {
    int source = lane ^ distance;
    return source / width == lane / width ? source : lane;
  });
}
template <class T>
inline T __shfl_down_sync(unsigned mask, T value, int distance, int width = 32) {
  return emulator::shuffle(mask, value, [=](int lane) {
    return lane % width + distance < width ? lane + distance : lane;
  });
}
template <class T>
inline T __shfl_sync(unsigned mask, T value, int source, int width = 32) {
  return emulator::shuffle(mask, value,
                           [=](int lane) { return lane / width * width + source % width; });
}
static inline unsigned __ballot_sync(unsigned mask, bool vote) {
  unsigned char *mine = emulator::meet(mask, &vote, 1, [=](auto &in, auto &out) {
    unsigned votes = 0;
    for (int lane = 0; lane < 32; lane++)
      if (mask >> lane & 1) votes |= (unsigned)in[lane][0] << lane;
    for (auto &lane : out) memcpy(lane, &votes, sizeof votes);
  });
  unsigned votes;
  memcpy(&votes, mine, sizeof votes);
  return votes;
}
static inline int __popc(unsigned x) { return __builtin_popcount(x); }
static inline int __clz(unsigned x) { return x ? __builtin_clz(x) : 32; }
static inline int __ffs(unsigned x) { return __builtin_ffs(x); }
static inline void sincospif(float x, float *sine, float *cosine) {
  *sine = sin(M_PI * x), *cosine = cos(M_PI * x);
}
static inline float __uint_as_float(unsigned bits) {
  float x;
  memcpy(&x, &bits, sizeof x);
  return x;
}
static inline unsigned __float_as_uint(float x) {
  unsigned bits;
  memcpy(&bits, &x, sizeof bits);
  return bits;
}
static inline float rsqrtf(float x) { return 1 / sqrtf(x); }
static inline int atomicAdd(int *p, int value) {
  return __atomic_fetch_add(p, value, __ATOMIC_SEQ_CST);
}
static inline void __threadfence() { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
