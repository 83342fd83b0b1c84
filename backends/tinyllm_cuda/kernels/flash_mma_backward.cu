// FlashAttention's backward pass on tensor cores (sm_80 and later): Algorithm 2 of Dao 2023
// (arXiv:2307.08691), in the paper's letters. One kernel goes over the queries for dK and dV, one
// over the keys for dQ: scores are made twice, so that no two blocks add to one number, and a rerun
// gives the same bits. For dK and dV they are made transposed, Sᵀ = K Qᵀ, so that P and dS stay in
// registers as factors of the next products.
//
// q, o, do (B H, T, D), k, v (B H / G, S, D), slopes (H,), lse, delta (B H, T)
// -> dq (B H, T, D), dk, dv (B H / G, S, D)
#include "tile_mma.h"
#define BLOCK 64                       // keys of a block for dK and dV, queries of one for dQ
#define COLUMNS (D > 128 ? D / 2 : D)  // of dK and dV that a block has: registers hold no more

extern "C" __global__ void __launch_bounds__(THREADS, 1)
    flash_backward_kv(const half_t *q, const half_t *k, const half_t *v, const half_t *do_,
                      const float *lse, const float *delta, const float *slopes, half_t *dk,
                      half_t *dv, int H, int G, int T, int S, int offset, int least, int most,
                      float scale, float softcap) {
  half_t *k_j = (half_t *)shared, *v_j = k_j + BLOCK * LD;
  half_t *q_tiles = v_j + BLOCK * LD, *do_tiles = q_tiles + 2 * STEP * LD;  // one used, one coming
  const int j0 = blockIdx.x * BLOCK, key_head = blockIdx.y, column0 = blockIdx.z * COLUMNS;
  const int row0 = threadIdx.x / 32 * 16, j = j0 + row0 + fragment_row();
  const Band band{offset, least, most};
  k += (long long)key_head * S * D, v += (long long)key_head * S * D;
  dk += (long long)key_head * S * D + column0, dv += (long long)key_head * S * D + column0;
  const int begin = first_query(band, j0) / STEP * STEP;
  const int tiles = max(0, (end_query(band, j0, BLOCK, T) - begin + STEP - 1) / STEP);

  auto load_step = [&](int step) {  // line 9; the query heads that share a key head are one row
    const long long at = (long long)(key_head * G + step / tiles) * T * D;
    const int i0 = begin + step % tiles * STEP;
    load_tile<STEP>(q_tiles + step % 2 * STEP * LD, q + at, i0, T);
    load_tile<STEP>(do_tiles + step % 2 * STEP * LD, do_ + at, i0, T);
  };
  load_tile<BLOCK>(k_j, k, j0, S);                                   // line 6
  load_tile<BLOCK>(v_j, v, j0, S);
  if (tiles) load_step(0);
  cp_async_commit();
  float dk_j[COLUMNS / 8][4] = {}, dv_j[COLUMNS / 8][4] = {};        // line 7
  for (int step = 0; step < tiles * G; step++) {                     // line 8
    if (step + 1 < tiles * G) load_step(step + 1);
    cp_async_commit();
    cp_async_wait<1>();
    __syncthreads();  // this step's tiles are there
    const half_t *q_i = q_tiles + step % 2 * STEP * LD, *do_i = do_tiles + step % 2 * STEP * LD;
    const int head = key_head * G + step / tiles, i0 = begin + step % tiles * STEP;
    const Scores scores{band, T, S, scale, softcap, slopes[head % H]};
    const bool whole = scores.whole(i0, STEP, j0, BLOCK);
    float p_ij[STEP / 8][4] = {}, ds_ij[STEP / 8][4] = {};
    add_abt(p_ij, k_j, row0, q_i);                                   // line 10
    add_abt(ds_ij, v_j, row0, do_i);                                 // line 13
#pragma unroll
    for (int n = 0; n < STEP / 8; n++)
#pragma unroll
      for (int e = 0; e < 4; e++) {                                  // lines 11 and 14
        const int i = i0 + n * 8 + fragment_column() + e % 2;
        const long long at = (long long)head * T + i;
        softmax_backward(p_ij[n][e], ds_ij[n][e], scores, i, j + e / 2 * 8, whole,
                         i < T ? lse[at] : 0, i < T ? delta[at] : 0);
      }
    add_pb(dv_j, p_ij, do_i + column0);                              // line 12
    add_pb(dk_j, ds_ij, q_i + column0);                              // line 16
    __syncthreads();  // this step's tiles have been read: the next but one takes their place
  }
  store_rows(dk, dk_j, j, S, scale);                                 // line 18
  store_rows(dv, dv_j, j, S, 1);
}

extern "C" __global__ void __launch_bounds__(THREADS, 1)
    flash_backward_q(const half_t *q, const half_t *k, const half_t *v, const half_t *do_,
                     const float *lse, const float *delta, const float *slopes, half_t *dq, int H,
                     int G, int T, int S, int offset, int least, int most, float scale,
                     float softcap) {
  half_t *q_i = (half_t *)shared, *do_i = q_i + BLOCK * LD;
  half_t *k_tiles = do_i + BLOCK * LD, *v_tiles = k_tiles + 2 * STEP * LD;  // one used, one coming
  const int i0 = blockIdx.x * BLOCK, head = blockIdx.y;
  const int row0 = threadIdx.x / 32 * 16, i = i0 + row0 + fragment_row();
  const Scores scores{{offset, least, most}, T, S, scale, softcap, slopes[head % H]};
  const long long at = (long long)head * T;
  k += (long long)(head / G) * S * D, v += (long long)(head / G) * S * D;
  const int begin = first_key(scores.band, i0) / STEP * STEP;
  const int tiles = max(0, (end_key(scores.band, i0, BLOCK, S) - begin + STEP - 1) / STEP);

  auto load_step = [&](int step) {
    load_tile<STEP>(k_tiles + step % 2 * STEP * LD, k, begin + step * STEP, S);
    load_tile<STEP>(v_tiles + step % 2 * STEP * LD, v, begin + step * STEP, S);
  };
  load_tile<BLOCK>(q_i, q + at * D, i0, T);
  load_tile<BLOCK>(do_i, do_ + at * D, i0, T);
  if (tiles) load_step(0);
  cp_async_commit();
  float dq_i[D / 8][4] = {}, lse_i[2], delta_i[2];
#pragma unroll
  for (int r = 0; r < 2; r++) {
    lse_i[r] = i + 8 * r < T ? lse[at + i + 8 * r] : 0;
    delta_i[r] = i + 8 * r < T ? delta[at + i + 8 * r] : 0;
  }
  for (int step = 0; step < tiles; step++) {
    if (step + 1 < tiles) load_step(step + 1);
    cp_async_commit();
    cp_async_wait<1>();
    __syncthreads();  // this step's tiles are there
    const half_t *k_j = k_tiles + step % 2 * STEP * LD, *v_j = v_tiles + step % 2 * STEP * LD;
    const int j0 = begin + step * STEP, j = j0 + fragment_column();
    const bool whole = scores.whole(i0, BLOCK, j0, STEP);
    float p_ij[STEP / 8][4] = {}, ds_ij[STEP / 8][4] = {};
    add_abt(p_ij, q_i, row0, k_j);                                   // line 10
    add_abt(ds_ij, do_i, row0, v_j);                                 // line 13
#pragma unroll
    for (int n = 0; n < STEP / 8; n++)
#pragma unroll
      for (int e = 0; e < 4; e++)                                    // lines 11 and 14
        softmax_backward(p_ij[n][e], ds_ij[n][e], scores, i + e / 2 * 8, j + n * 8 + e % 2, whole,
                         lse_i[e / 2], delta_i[e / 2]);
    add_pb(dq_i, ds_ij, k_j);                                        // line 15
    __syncthreads();  // this step's tiles have been read: the next but one takes their place
  }
  store_rows(dq + at * D, dq_i, i, T, scale);
}
