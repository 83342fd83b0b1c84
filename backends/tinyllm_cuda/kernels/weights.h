// A matrix as tinyllm keeps it, and the products of its rows with a vector, a warp to some rows.
//
//   FORMAT            a row of C numbers                                 scales
//   F32, BF16, FP16   C numbers                                          -
//   INT8              C bytes, -127 … 127                                one
//   INT4              C / 2 bytes: of 32 numbers plus 8, the first 16    one for each 32
//                     in the lower halves of 16 bytes, then the upper
//
// (tinyllm.ops.quantization). A lane reads 16 bytes of a row at a time: a chunk.
#pragma once
#include "number.h"
#define CHUNK (FORMAT == F32 ? 4 : FORMAT == INT8 ? 16 : FORMAT == INT4 ? 32 : 8)
#define QUADS (CHUNK / 4)

struct Row {
  const unsigned char *values;
  const float *scales;
};
__device__ __forceinline__ Row row_of(const void *matrix, const float *scales, long long row,
                                      int C) {
  const long long bytes = 16LL * C / CHUNK;
  const int scales_of_row = FORMAT == INT4 ? C / 32 : 1;
  return {(const unsigned char *)matrix + row * bytes, scales + row * scales_of_row};
}

// A whole number of at most 8 bits as a float: the bits of 2^23 + n are those of 2^23, plus n.
__device__ __forceinline__ float whole(unsigned n, int zero) {
  return __uint_as_float(0x4b000000u | n) - (8388608 + zero);
}
// Numbers 4 q … 4 q + 3 of a chunk.
__device__ __forceinline__ float4 quad(uint4 chunk, int q) {
  const int i = FORMAT == INT8 || FORMAT == INT4 ? q % 4 : FORMAT == F32 ? 0 : 2 * q;
  const unsigned w = i == 0 ? chunk.x : i == 1 ? chunk.y : i == 2 ? chunk.z : chunk.w;
  const unsigned next = i == 0 ? chunk.y : chunk.w;
  if (FORMAT == F32)
    return make_float4(__uint_as_float(chunk.x), __uint_as_float(chunk.y), __uint_as_float(chunk.z),
                       __uint_as_float(chunk.w));
  if (FORMAT == BF16)
    return make_float4(__uint_as_float(w << 16), __uint_as_float(w & 0xffff0000u),
                       __uint_as_float(next << 16), __uint_as_float(next & 0xffff0000u));
  if (FORMAT == FP16)
    return make_float4(float_of_f16(w & 0xffff), float_of_f16(w >> 16), float_of_f16(next & 0xffff),
                       float_of_f16(next >> 16));
  const unsigned mask = FORMAT == INT8 ? 255 : 15, zero = FORMAT == INT8 ? 128 : 8;
  const unsigned u = FORMAT == INT8 ? w ^ 0x80808080u : q < 4 ? w : w >> 4;  // n plus its zero
  return make_float4(whole(u & mask, zero), whole(u >> 8 & mask, zero), whole(u >> 16 & mask, zero),
                     whole(u >> 24 & mask, zero));
}
// One number, without the scale of its row.
__device__ __forceinline__ float weight_at(Row row, int i) {
  if (FORMAT == INT8) return ((const signed char *)row.values)[i];
  if (FORMAT == INT4) {
    const unsigned byte = row.values[i / 32 * 16 + i % 16];
    return row.scales[i / 32] * ((int)(i % 32 < 16 ? byte & 15 : byte >> 4) - 8);
  }
  typedef Number<FORMAT> Kept;
  return Kept::widen(((const typename Kept::Bits *)row.values)[i]);
}
__device__ __forceinline__ float scale_of(Row row) { return FORMAT == INT8 ? *row.scales : 1; }

// Where number i of a vector lies in shared memory: in the order in which the lanes read it, four
// of each lane after another, so that no two lanes of a quarter of a warp want the same bank.
__device__ __forceinline__ int place(int i) {
  const int chunk = i / CHUNK, q = i % CHUNK / 4;
  return (chunk / 32 * QUADS + q) * 128 + chunk % 32 * 4 + i % 4;
}

// How many places a vector of C numbers takes.
__device__ __forceinline__ int place_end(int C) {
  return (C + 32 * CHUNK - 1) / (32 * CHUNK) * 32 * CHUNK;
}

// sums[r] = row r · x for rows of C numbers, by a warp, each lane of which gets them; x lies in
// shared memory by `place`. Rows that are not made of whole chunks are read number by number.
template <int ROWS>
__device__ __forceinline__ void multiply(float (&sums)[ROWS], const Row (&rows)[ROWS],
                                         const float *x, int C) {
  const int lane = threadIdx.x % 32;
  bool whole_chunks = C % CHUNK == 0;
#pragma unroll
  for (int r = 0; r < ROWS; r++) {
    whole_chunks &= (unsigned long long)rows[r].values % 16 == 0;
    sums[r] = 0;
  }
  if (whole_chunks) {
#pragma unroll 4
    for (int i = lane; i < C / CHUNK; i += 32) {
      uint4 chunk[ROWS];
      float part[ROWS] = {};
#pragma unroll
      for (int r = 0; r < ROWS; r++) chunk[r] = ((const uint4 *)rows[r].values)[i];
#pragma unroll
      for (int q = 0; q < QUADS; q++) {
        const float4 b = *(const float4 *)(x + (i / 32 * QUADS + q) * 128 + lane * 4);
#pragma unroll
        for (int r = 0; r < ROWS; r++) {
          const float4 a = quad(chunk[r], q);
          part[r] += a.x * b.x + a.y * b.y + a.z * b.z + a.w * b.w;
        }
      }
#pragma unroll
      for (int r = 0; r < ROWS; r++)
        sums[r] += FORMAT == INT4 ? rows[r].scales[i] * part[r] : part[r];
    }
  } else {
    for (int i = lane; i < C; i += 32)
#pragma unroll
      for (int r = 0; r < ROWS; r++) sums[r] += weight_at(rows[r], i) * x[place(i)];
  }
#pragma unroll
  for (int r = 0; r < ROWS; r++) sums[r] = warp_sum(sums[r]) * scale_of(rows[r]);
}
