// From q · k to a score: the scale, a soft cap c tanh(x / c), ALiBi's slope times a distance.
//
// With PLAIN there is neither cap nor slope, and the scale waits for the exponential, which takes
// it in for nothing.
#pragma once
#include "visible.h"
#define FULL 0xffffffffu
#define LOG2_E 1.44269504f
#define LN_2 0.69314718f
#define MINUS_INFINITY (-__uint_as_float(0x7f800000u))

struct Scores {
  Band band;
  int T, S;
  float scale, softcap, slope;  // softcap 0: there is none

  __device__ __forceinline__ bool visible(int i, int j) const {
    return i < T && j < S && sees(band, i, j);
  }
  // Whether each of `rows` queries from i0 on sees each of `keys` keys from j0 on.
  __device__ __forceinline__ bool whole(int i0, int rows, int j0, int keys) const {
    return i0 + rows <= T && j0 + keys <= S && all_see(band, i0, rows, j0, keys);
  }
  __device__ __forceinline__ float capped(float qk) const {
    return softcap > 0 ? tanhf(scale * qk / softcap) : 0;
  }
#ifdef PLAIN
  __device__ __forceinline__ float of(float qk, int, int) const { return qk; }
  __device__ __forceinline__ float unit() const { return scale * LOG2_E; }
  __device__ __forceinline__ float derivative(float) const { return 1; }
#else
  __device__ __forceinline__ float of(float qk, int i, int j) const {
    return (softcap > 0 ? softcap * capped(qk) : scale * qk) - slope * (float)distance(band, i, j);
  }
  // exp(score) = 2^(unit · of(q k))
  __device__ __forceinline__ float unit() const { return LOG2_E; }
  // ∂ score / ∂ (scale q k): the derivative of c tanh(x / c) is 1 - tanh².
  __device__ __forceinline__ float derivative(float qk) const {
    const float t = capped(qk);
    return 1 - t * t;
  }
#endif
};
