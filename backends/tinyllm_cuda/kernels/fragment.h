// Softmax on a lane's part of a product, as tensor cores deal it out: alike for mma.sync and wgmma.
//
// With g = lane / 4 and t = lane % 4, x[n][e] is in row g, or g + 8 for e >= 2, of the warp's 16
// rows, and in column 8 n + 2 t + e % 2. A row has four lanes; a lane has two rows.
#pragma once
#include <ptx_sm80.h>
#include "scores.h"

__device__ __forceinline__ int fragment_row() { return threadIdx.x % 32 / 4; }
__device__ __forceinline__ int fragment_column() { return threadIdx.x % 4 * 2; }

// Combine what the lanes of a row have; each gets the result.
__device__ __forceinline__ float row_max(float x) {
  x = fmaxf(x, __shfl_xor_sync(FULL, x, 1));
  return fmaxf(x, __shfl_xor_sync(FULL, x, 2));
}
__device__ __forceinline__ float row_sum(float x) {
  x += __shfl_xor_sync(FULL, x, 1);
  return x + __shfl_xor_sync(FULL, x, 2);
}

// Line 8 of Algorithm 1, from q · k on: queries i, i + 8 and keys from j on are the lane's own.
template <int N>
__device__ __forceinline__ void make_scores(float (&s)[N][4], const Scores &scores, int i, int j,
                                            bool whole) {
#pragma unroll
  for (int n = 0; n < N; n++)
#pragma unroll
    for (int e = 0; e < 4; e++)
      s[n][e] = scores.of(s[n][e], i + e / 2 * 8, j + n * 8 + e % 2);
  if (whole) return;
#pragma unroll
  for (int n = 0; n < N; n++)
#pragma unroll
    for (int e = 0; e < 4; e++)
      if (!scores.visible(i + e / 2 * 8, j + n * 8 + e % 2)) s[n][e] = MINUS_INFINITY;
}

// Line 9: s becomes P = exp(S - m), and `rescale` what older sums are multiplied by. l is of this
// lane's columns: the lanes of a row are added up at the end.
template <int N>
__device__ __forceinline__ void online_softmax(float (&s)[N][4], float (&m)[2], float (&l)[2],
                                               float (&rescale)[2], float unit) {
#pragma unroll
  for (int r = 0; r < 2; r++) {
    float m_new = m[r], sum = 0;
#pragma unroll
    for (int n = 0; n < N; n++) m_new = fmaxf(m_new, fmaxf(s[n][2 * r], s[n][2 * r + 1]));
    m_new = row_max(m_new);
    const float finite = m_new == MINUS_INFINITY ? 0 : m_new * unit;  // where no key was seen yet
#pragma unroll
    for (int n = 0; n < N; n++)
#pragma unroll
      for (int e = 2 * r; e < 2 * r + 2; e++) {
        s[n][e] = exp2_fast(s[n][e] * unit - finite);
        sum += s[n][e];
      }
    rescale[r] = exp2_fast(m[r] * unit - finite);
    l[r] = rescale[r] * l[r] + sum;
    m[r] = m_new;
  }
}

template <int N>
__device__ __forceinline__ void multiply_rows(float (&x)[N][4], const float (&by)[2]) {
#pragma unroll
  for (int n = 0; n < N; n++)
#pragma unroll
    for (int e = 0; e < 4; e++) x[n][e] *= by[e / 2];
}

// Lines 12 and 13: O = O / l and L = m + log l, of queries i and i + 8.
template <int N>
__device__ __forceinline__ void finish_rows(float (&o)[N][4], const float (&m)[2],
                                            const float (&l)[2], float unit, float *lse, int i,
                                            int T) {
  float inverse[2];
#pragma unroll
  for (int r = 0; r < 2; r++) {
    const float sum = row_sum(l[r]);
    inverse[r] = sum > 0 ? 1 / sum : 0;  // a query that sees nothing gives 0
    if (threadIdx.x % 4 == 0 && i + 8 * r < T)
      lse[i + 8 * r] = sum > 0 ? (m[r] * unit + log2f(sum)) * LN_2 : MINUS_INFINITY;
  }
  multiply_rows(o, inverse);
}

// Lines 11 and 14 of Algorithm 2 for one score: from q · k and dO · v to P and dS.
__device__ __forceinline__ void softmax_backward(float &s, float &dp, const Scores &scores, int i,
                                                 int j, bool whole, float lse, float delta) {
  const float p = whole || scores.visible(i, j)
                      ? exp2_fast(scores.of(s, i, j) * scores.unit() - lse * LOG2_E) : 0;
  dp = p * (dp - delta) * scores.derivative(s);
  s = p;
}

// Round a product to a factor of the next one: what a lane holds of rows (16, 16) is the same.
template <int N>
__device__ __forceinline__ void as_factor(unsigned (&x)[N / 2][4], const float (&p)[N][4]) {
#pragma unroll
  for (int k = 0; k < N / 2; k++)
#pragma unroll
    for (int e = 0; e < 4; e++)
      x[k][e] = pack2(p[2 * k + e / 2][e % 2 * 2], p[2 * k + e / 2][e % 2 * 2 + 1]);
}

// Write rows `row` and row + 8 of `to` (rows, D), times `scale`; what lies past D is left out.
template <int N>
__device__ __forceinline__ void store_rows(half_t *to, const float (&x)[N][4], int row, int rows,
                                           float scale) {
#pragma unroll
  for (int r = 0; r < 2; r++)
    if (row + 8 * r < rows)
#pragma unroll
      for (int n = 0; n < N; n++)
        if (n * 8 < D)
          *(unsigned *)(to + (long long)(row + 8 * r) * D + n * 8 + fragment_column()) =
              pack2(x[n][2 * r] * scale, x[n][2 * r + 1] * scale);
}
