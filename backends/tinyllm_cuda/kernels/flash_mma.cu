// FlashAttention's forward pass on tensor cores (sm_80 and later), in bfloat16 or float16 with sums
// in float32: Algorithm 1 of Dao 2023, "FlashAttention-2" (arXiv:2307.08691), in the paper's
// letters. A block has B_r = 64 queries of one head, 16 for each of four warps, and takes B_c keys
// at a time; G of the H query heads share a key head. tinyllm/ops/flash.py computes the same.
//
// q (B H, T, D), k, v (B H / G, S, D), slopes (H,) -> o (B H, T, D), lse (B H, T)
#include "tile_mma.h"
#define B_R 64
#define B_C STEP

extern "C" __global__ void __launch_bounds__(THREADS, 1)
    flash_forward(const half_t *q, const half_t *k, const half_t *v, const float *slopes, half_t *o,
                  float *lse, int H, int G, int T, int S, int offset, int least, int most,
                  float scale, float softcap) {
  half_t *q_i = (half_t *)shared, *k_j = q_i + B_R * LD, *v_j = k_j + B_C * LD;
  // A causal mask leaves most keys to the last queries: they begin first, and all end together.
  const int i0 = (least > -S ? gridDim.x - 1 - blockIdx.x : blockIdx.x) * B_R, head = blockIdx.y;
  const int row0 = threadIdx.x / 32 * 16, i = i0 + row0 + fragment_row();
  const Scores scores{{offset, least, most}, T, S, scale, softcap, slopes[head % H]};
  q += (long long)head * T * D, o += (long long)head * T * D, lse += (long long)head * T;
  k += (long long)(head / G) * S * D, v += (long long)(head / G) * S * D;
  const int begin = first_key(scores.band, i0) / B_C * B_C, end = end_key(scores.band, i0, B_R, S);

  load_tile<B_R>(q_i, q, i0, T);                                     // line 4
  if (begin < end) load_tile<B_C>(k_j, k, begin, S);
  cp_async_commit();
  float o_i[D / 8][4] = {}, l_i[2] = {}, m_i[2] = {MINUS_INFINITY, MINUS_INFINITY};  // line 5
  for (int j0 = begin; j0 < end; j0 += B_C) {                        // line 6
    cp_async_wait<0>();
    __syncthreads();  // the keys are there, and the last tile's values have been read
    load_tile<B_C>(v_j, v, j0, S);                                   // line 7, while keys are used
    cp_async_commit();
    float s_ij[B_C / 8][4] = {}, rescale[2];
    add_abt(s_ij, q_i, row0, k_j);                                   // line 8
    make_scores(s_ij, scores, i, j0 + fragment_column(), scores.whole(i0, B_R, j0, B_C));
    online_softmax(s_ij, m_i, l_i, rescale, scores.unit());          // line 9
    cp_async_wait<0>();
    __syncthreads();  // the values are there, and the keys have been read
    if (j0 + B_C < end) load_tile<B_C>(k_j, k, j0 + B_C, S);         // line 7, of the next tile
    cp_async_commit();
    multiply_rows(o_i, rescale);                                     // line 10
    add_pb(o_i, s_ij, v_j);
  }
  finish_rows(o_i, m_i, l_i, scores.unit(), lse, i, T);              // lines 12 and 13
  store_rows(o, o_i, i, T, 1);                                       // line 14
}
