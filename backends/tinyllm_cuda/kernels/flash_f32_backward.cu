// FlashAttention's backward pass in float32: Algorithm 2 of Dao 2023 (arXiv:2307.08691), in the
// paper's letters. One kernel goes over the queries for dK and dV, one over the keys for dQ: scores
// are made twice, so that no two blocks add to one number, and a rerun gives the same bits.
//
// q, o, do (B H, T, D), k, v (B H / G, S, D), slopes (H,), lse, delta (B H, T)
// -> dq (B H, T, D), dk, dv (B H / G, S, D)
#include "tile_f32.h"
extern __shared__ __align__(1024) unsigned char shared[];

// Line 4: D = rowsum(dO ⊙ O), 16 threads to a row
extern "C" __global__ void __launch_bounds__(256, 1)
    flash_delta(const float *o, const float *do_, float *delta, int rows) {
  const int row = blockIdx.x * 16 + threadIdx.x / 16;
  float x = 0;
  if (row < rows)
    for (int c = threadIdx.x % 16; c < D; c += 16)
      x += o[(long long)row * D + c] * do_[(long long)row * D + c];
  x = row_sum(x);
  if (row < rows && threadIdx.x % 16 == 0) delta[row] = x;
}

// Lines 11 to 14 for one tile: from q·k and dO·v to P and dS, in place.
__device__ __forceinline__ void softmax_backward(float (&s)[EACH][EACH], float (&dp)[EACH][EACH],
                                                 const Scores &scores, const float *lse,
                                                 const float *delta, int i0, int j0) {
  const int ty = threadIdx.x / 16, tx = threadIdx.x % 16;
#pragma unroll
  for (int r = 0; r < EACH; r++) {
    const int i = i0 + EACH * ty + r;
    const float L_i = i < scores.T ? lse[i] : 0, D_i = i < scores.T ? delta[i] : 0;
#pragma unroll
    for (int c = 0; c < EACH; c++) {
      const int j = j0 + tx + 16 * c;
      const float p = scores.visible(i, j) ? expf(scores.of(s[r][c], i, j) - L_i) : 0;
      dp[r][c] = p * (dp[r][c] - D_i) * scores.derivative(s[r][c]) * scores.scale;
      s[r][c] = p;
    }
  }
}

extern "C" __global__ void __launch_bounds__(256, 1)
    flash_backward_kv(const float *q, const float *k, const float *v, const float *do_,
                      const float *lse, const float *delta, const float *slopes, float *dk,
                      float *dv, int H, int G, int T, int S, int offset, int least, int most,
                      float scale, float softcap) {
  float *k_j = (float *)shared, *v_j = k_j + ROWS * LD, *q_i = v_j + ROWS * LD;
  float *do_i = q_i + ROWS * LD, *p_ij = do_i + ROWS * LD;
  const int j0 = blockIdx.x * ROWS, key_head = blockIdx.y;
  const Band band{offset, least, most};
  k += (long long)key_head * S * D, v += (long long)key_head * S * D;
  dk += (long long)key_head * S * D, dv += (long long)key_head * S * D;

  load_tile(k_j, k, j0, S);                                          // line 6
  load_tile(v_j, v, j0, S);
  float dk_j[EACH][PART] = {}, dv_j[EACH][PART] = {};                      // line 7
  const int end = end_query(band, j0, ROWS, T);
  for (int head = key_head * G; head < (key_head + 1) * G; head++) {  // those of a key head
    const Scores scores{band, T, S, scale, softcap, slopes[head % H]};
    const long long at = (long long)head * T;
    for (int i0 = first_query(band, j0) / ROWS * ROWS; i0 < end; i0 += ROWS) {  // line 8
      __syncthreads();  // the last tile's queries and scores have been read
      load_tile(q_i, q + at * D, i0, T);                             // line 9
      load_tile(do_i, do_ + at * D, i0, T);
      __syncthreads();  // all four tiles are there
      float s_ij[EACH][EACH] = {}, dp_ij[EACH][EACH] = {};
      add_abt(s_ij, q_i, k_j);                                       // line 10
      add_abt(dp_ij, do_i, v_j);                                     // line 13
      softmax_backward(s_ij, dp_ij, scores, lse + at, delta + at, i0, j0);
      store_scores(p_ij, s_ij);
      __syncthreads();  // P is there
      add_pb<true>(dv_j, p_ij, do_i);                                // line 12
      __syncthreads();  // P has been read: dS takes its place
      store_scores(p_ij, dp_ij);
      __syncthreads();  // dS is there
      add_pb<true>(dk_j, p_ij, q_i);                                 // line 16
    }
  }
  store_rows(dk, dk_j, j0, S);                                       // line 18
  store_rows(dv, dv_j, j0, S);
}

extern "C" __global__ void __launch_bounds__(256, 1)
    flash_backward_q(const float *q, const float *k, const float *v, const float *do_,
                     const float *lse, const float *delta, const float *slopes, float *dq, int H,
                     int G, int T, int S, int offset, int least, int most, float scale,
                     float softcap) {
  float *q_i = (float *)shared, *do_i = q_i + ROWS * LD, *k_j = do_i + ROWS * LD;
  float *v_j = k_j + ROWS * LD, *ds_ij = v_j + ROWS * LD;
  const int i0 = blockIdx.x * ROWS, head = blockIdx.y;
  const Scores scores{{offset, least, most}, T, S, scale, softcap, slopes[head % H]};
  const long long at = (long long)head * T;
  k += (long long)(head / G) * S * D, v += (long long)(head / G) * S * D;

  load_tile(q_i, q + at * D, i0, T);
  load_tile(do_i, do_ + at * D, i0, T);
  float dq_i[EACH][PART] = {};
  const int end = end_key(scores.band, i0, ROWS, S);
  for (int j0 = first_key(scores.band, i0) / ROWS * ROWS; j0 < end; j0 += ROWS) {
    __syncthreads();  // the last tile's keys and scores have been read
    load_tile(k_j, k, j0, S);
    load_tile(v_j, v, j0, S);
    __syncthreads();  // all four tiles are there
    float s_ij[EACH][EACH] = {}, dp_ij[EACH][EACH] = {};
    add_abt(s_ij, q_i, k_j);
    add_abt(dp_ij, do_i, v_j);
    softmax_backward(s_ij, dp_ij, scores, lse + at, delta + at, i0, j0);
    store_scores(ds_ij, dp_ij);
    __syncthreads();  // dS is there
    add_pb<false>(dq_i, ds_ij, k_j);                                 // line 15
  }
  store_rows(dq + at * D, dq_i, i0, T);
}
