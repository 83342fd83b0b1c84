// FlashAttention's forward pass in float32 on plain cores, for any GPU: Algorithm 1 of Dao 2023,
// "FlashAttention-2" (arXiv:2307.08691), in the paper's letters. A block has B_r = ROWS queries of
// one head, and takes as many keys at a time; G of the H query heads share a key head. `slopes` are
// ALiBi's, `softcap` is 0 where there is none. tinyllm/ops/flash.py computes the same.
//
// q (B H, T, D), k, v (B H / G, S, D), slopes (H,) -> o (B H, T, D), lse (B H, T)
#include "tile_f32.h"
extern __shared__ __align__(1024) unsigned char shared[];

extern "C" __global__ void __launch_bounds__(256, 1)
    flash_forward(const float *q, const float *k, const float *v, const float *slopes, float *o,
                  float *lse, int H, int G, int T, int S, int offset, int least, int most,
                  float scale, float softcap) {
  float *q_i = (float *)shared, *k_j = q_i + ROWS * LD, *v_j = k_j + ROWS * LD;
  float *p_ij = v_j + ROWS * LD;
  const int ty = threadIdx.x / 16, tx = threadIdx.x % 16;
  const int i0 = blockIdx.x * ROWS, head = blockIdx.y;
  const Scores scores{{offset, least, most}, T, S, scale, softcap, slopes[head % H]};
  q += (long long)head * T * D, o += (long long)head * T * D, lse += (long long)head * T;
  k += (long long)(head / G) * S * D, v += (long long)(head / G) * S * D;

  load_tile(q_i, q, i0, T);                                          // line 4
  float o_i[EACH][PART] = {}, l_i[EACH] = {}, m_i[EACH];                      // line 5
  for (int r = 0; r < EACH; r++) m_i[r] = MINUS_INFINITY;

  const int end = end_key(scores.band, i0, ROWS, S);
  for (int j0 = first_key(scores.band, i0) / ROWS * ROWS; j0 < end; j0 += ROWS) {  // line 6
    __syncthreads();  // the last tile's values have been read
    load_tile(k_j, k, j0, S);                                        // line 7
    load_tile(v_j, v, j0, S);
    __syncthreads();  // both tiles are there, and the queries
    float s_ij[EACH][EACH] = {};
    add_abt(s_ij, q_i, k_j);                                         // line 8
#pragma unroll
    for (int r = 0; r < EACH; r++) {                                    // line 9
      float m_new = m_i[r], sum = 0;
#pragma unroll
      for (int c = 0; c < EACH; c++) {
        const int i = i0 + EACH * ty + r, j = j0 + tx + 16 * c;
        s_ij[r][c] = scores.visible(i, j) ? scores.of(s_ij[r][c], i, j) : MINUS_INFINITY;
        m_new = fmaxf(m_new, s_ij[r][c]);
      }
      m_new = row_max(m_new);
      const float finite = m_new == MINUS_INFINITY ? 0 : m_new;  // where no key was seen yet
#pragma unroll
      for (int c = 0; c < EACH; c++) {
        s_ij[r][c] = expf(s_ij[r][c] - finite);
        sum += s_ij[r][c];
      }
      const float rescale = expf(m_i[r] - finite);
      l_i[r] = rescale * l_i[r] + row_sum(sum);
      m_i[r] = m_new;
#pragma unroll
      for (int c = 0; c < PART; c++) o_i[r][c] *= rescale;           // line 10
    }
    store_scores(p_ij, s_ij);
    __syncthreads();  // all of the probabilities are there
    add_pb<false>(o_i, p_ij, v_j);
  }
#pragma unroll
  for (int r = 0; r < EACH; r++) {                                      // lines 12 and 13
    const float inverse = l_i[r] > 0 ? 1 / l_i[r] : 0;  // a query that sees nothing gives 0
#pragma unroll
    for (int c = 0; c < PART; c++) o_i[r][c] *= inverse;
    const int i = i0 + EACH * ty + r;
    if (tx == 0 && i < T) lse[i] = l_i[r] > 0 ? m_i[r] + logf(l_i[r]) : MINUS_INFINITY;
  }
  store_rows(o, o_i, i0, T);                                         // line 14
}
