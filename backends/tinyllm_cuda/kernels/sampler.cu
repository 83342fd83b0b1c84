// One token: choose the next, embed it, and go a position further. One block, one uniform number.
//
// top-k, then top-p, then min-p, in this order, and the first token in order of id whose cumulative
// probability exceeds the uniform number: tinyllm.inference.sampling.choose_token without
// penalties. What cannot be chosen is first left out, so that a cut looks at few tokens.
// Probabilities are sums of float32 exponentials in float64: a token may differ from the host's
// where they differ, by 1e-7.
//
// logits (n,), uniforms (draws,), options: temperature, top_k, top_p, min_p; ids (n,) is room;
// table (n, C) with scales as in weights.h; state: token, position, tokens drawn
// -> tokens[drawn], -1 where no score is finite; x (C,); state
#include "ptx_f16.h"
#include "weights.h"
#include "sampler.h"
extern __shared__ __align__(1024) unsigned char shared[];

struct Room {
  u64 keys[2 * WARPS];
  double sums[2 * WARPS], masses[WARPS];
  int counts[WARPS], token;
};

// List what is kept of 0 … n - 1, in order; returns how many. Each warp goes over a share of them.
template <class Keep>
__device__ __forceinline__ int collect(int n, int *ids, int *counts, Keep keep) {
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int share = (n + THREADS - 1) / THREADS * 32;
  const int begin = warp * share, end = min(n, begin + share);
  int kept = 0, at = 0, all = 0;
  for (int i = begin + lane; i - lane < end; i += 32)
    kept += __popc(__ballot_sync(FULL, i < end && keep(i)));
  if (lane == 0) counts[warp] = kept;
  __syncthreads();  // the counts of all warps are there
  for (int w = 0; w < WARPS; w++) at += w < warp ? counts[w] : 0, all += counts[w];
  for (int i = begin + lane; i - lane < end; i += 32) {
    const bool mine = i < end && keep(i);
    const unsigned votes = __ballot_sync(FULL, mine);
    if (mine) ids[at + __popc(votes & ((1u << lane) - 1))] = i;
    at += __popc(votes);
  }
  __syncthreads();  // the list is there
  return all;
}

// Draw one of n listed tokens: the first, in this order, with u · total < the sum up to it.
// `weight` is 0 of those that cannot be drawn, and of a listed token otherwise.
template <class Weight>
__device__ __forceinline__ int draw(int n, const int *ids, double u, Room &room, Weight weight) {
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int share = (n + THREADS - 1) / THREADS * 32;
  const int begin = warp * share, end = min(n, begin + share);
  double mine = 0, total = 0, before = 0, sum = 0;
  for (int i = begin + lane; i < end; i += 32) mine += weight(ids[i]);
#pragma unroll
  for (int d = 16; d; d /= 2) mine += __shfl_xor_sync(FULL, mine, d);
  if (lane == 0) room.masses[warp] = mine;
  __syncthreads();  // the sums of all warps are there
  for (int w = 0; w < WARPS; w++) total += room.masses[w];
  int where = 0;  // the warp with the token
  for (int w = 0; w < WARPS; w++) {
    if (room.masses[w] > 0 && sum <= u * total) where = w, before = sum;
    sum += room.masses[w];
  }
  if (warp == where) {
    int last = -1, found = -1;  // the last that can be drawn: rounding may leave the sum too small
    for (int i = begin + lane; i - lane < end && found < 0; i += 32) {
      const int id = i < end ? ids[i] : 0;
      const double own = i < end ? weight(id) : 0;
      double upto = own;
      for (int d = 1; d < 32; d *= 2) {
        const double lower = __shfl_sync(FULL, upto, (lane - d) & 31);
        if (lane >= d) upto += lower;
      }
      const unsigned possible = __ballot_sync(FULL, own > 0);
      const unsigned beyond = __ballot_sync(FULL, own > 0 && before + upto > u * total);
      if (possible) last = __shfl_sync(FULL, id, 31 - __clz(possible));
      if (beyond) found = __shfl_sync(FULL, id, __ffs(beyond) - 1);
      before += __shfl_sync(FULL, upto, 31);
    }
    if (lane == 0) room.token = found < 0 ? last : found;
  }
  __syncthreads();  // the token is known
  return room.token;
}

__device__ __forceinline__ int choose(const float *logits, int n, double u, const double *options,
                                      int *ids, Room &room) {
  const double temperature = options[0], top_k = options[1], top_p = options[2], min_p = options[3];
  u64 best = 0;
  for (int i = threadIdx.x; i < n; i += THREADS) {
    const u64 key = key_of(logits[i], i);
    if (key > best) best = key;
  }
  Together<double> block{room.sums};
  const u64 highest = Together<u64>{room.keys}.largest(best);
  if (is_nan(highest)) return -1;
  const float top = logits[id_of(highest)];
  if (fabsf(top) > 3.4e38f) return -1;  // infinite
  if (temperature == 0) return id_of(highest);
  const float t = temperature;
  auto weight = [&](int id) { return expf((logits[id] - top) / t); };
  const bool by_k = 0 < top_k && top_k < n, by_p = top_p < 1;

  u64 low = 1;
  float least = 0;
  double total = 0;  // of what top-p is a part of
  if (by_k && top_k <= THREADS) {  // the k best are as high as the k-th of the threads' best
    low = cut(low, min(n, THREADS), highest + 1, top_k, [&](u64 key) {
      const double count = block.sum(best >= key);
      return Measured{count, count};
    });
  } else if (!by_k && by_p) {  // those below weigh less than 1 - p together
    double sum = 0;
    for (int i = threadIdx.x; i < n; i += THREADS) sum += weight(i);
    total = block.sum(sum);
    least = (1 - top_p) / n * total;
  }
  const int left = collect(n, ids, room.counts, [&](int i) {
    return key_of(logits[i], i) >= low && weight(i) >= least;
  });
  auto measure = [&](u64 key) {
    double amount = 0, count = 0;
    for (int i = threadIdx.x; i < left; i += THREADS)
      if (key_of(logits[ids[i]], ids[i]) >= key) amount += weight(ids[i]), count += 1;
    const double sum = block.sum(amount);
    return Measured{sum, block.sum(count)};
  };
  if (by_k) {
    low = cut(low, left, highest + 1, top_k, [&](u64 key) {
      const double count = measure(key).count;
      return Measured{count, count};
    });
    total = measure(low).amount;
  }
  if (by_p) low = cut(low, by_k ? top_k : left, highest + 1, top_p * total, measure);
  return draw(left, ids, u, room, [&](int id) {
    const float own = weight(id);
    return key_of(logits[id], id) >= low && own >= min_p ? own : 0.0f;
  });
}

// x = table[token] (tinyllm.ops.embedding.embedding_forward)
__device__ __forceinline__ void embed(const void *table, const float *scales, int token, float *x,
                                      int C) {
  const Row row = row_of(table, scales, token, C);
  for (int i = threadIdx.x; i < C; i += blockDim.x) x[i] = weight_at(row, i) * scale_of(row);
}
extern "C" __global__ void __launch_bounds__(256)
    sampler_embed(const void *table, const float *scales, const int *state, float *x, int C) {
  embed(table, scales, state[0], x, C);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    sampler_draw(const float *logits, const double *uniforms, const double *options, int *ids,
                 const void *table, const float *scales, int *tokens, int *state, float *x, int n,
                 int C) {
  Room &room = *(Room *)shared;
  const int token = choose(logits, n, uniforms[state[2]], options, ids, room);
  embed(table, scales, max(token, 0), x, C);
  if (threadIdx.x == 0) {
    tokens[state[2]] = token;
    state[0] = token, state[1]++, state[2]++;
  }
}
