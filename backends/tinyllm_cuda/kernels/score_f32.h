// From q · k to a score: scale, soft cap, ALiBi's slope, and -∞ for a key that is not seen.
#pragma once
#include "visible.h"
struct Scores {
  Band band;
  int T, S;
  float scale, softcap, slope;  // softcap 0: there is none

  __device__ __forceinline__ bool visible(int i, int j) const {
    return i < T && j < S && sees(band, i, j);
  }
  // The tanh of a soft cap, c tanh(scale q·k / c); its derivative is 1 - tanh².
  __device__ __forceinline__ float capped(float qk) const {
    return softcap > 0 ? tanhf(scale * qk / softcap) : 0;
  }
  __device__ __forceinline__ float of(float qk, int i, int j) const {
    if (!visible(i, j)) return MINUS_INFINITY;
    return (softcap > 0 ? softcap * capped(qk) : scale * qk) - slope * (float)distance(band, i, j);
  }
};
