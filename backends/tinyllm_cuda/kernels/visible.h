// Which keys a query sees: those at a distance of least <= distance < most tokens before it.
//
// Causal is least = 0, a window of w tokens most = w. Query 0 stands `offset` tokens after key 0:
// in a text whose beginning is cached, S - T. What tiles have anything to add follows from these.
#pragma once
struct Band {
  int offset, least, most;
};
__device__ __forceinline__ int distance(Band band, int i, int j) { return i + band.offset - j; }
__device__ __forceinline__ bool sees(Band band, int i, int j) {
  return band.least <= distance(band, i, j) && distance(band, i, j) < band.most;
}
// Some of `rows` queries from i0 on see keys from first_key on and before end_key.
__device__ __forceinline__ int first_key(Band band, int i0) {
  return max(0, i0 + band.offset - band.most + 1);
}
__device__ __forceinline__ int end_key(Band band, int i0, int rows, int S) {
  return min(S, i0 + rows + band.offset - band.least);
}
// Some of `keys` keys from j0 on are seen by queries from first_query on and before end_query.
__device__ __forceinline__ int first_query(Band band, int j0) {
  return max(0, j0 - band.offset + band.least);
}
__device__ __forceinline__ int end_query(Band band, int j0, int keys, int T) {
  return min(T, j0 + keys - 1 - band.offset + band.most);
}
// Whether each of `rows` queries sees each of `keys` keys: then no single score needs to be asked.
__device__ __forceinline__ bool all_see(Band band, int i0, int rows, int j0, int keys) {
  return band.least <= distance(band, i0, j0 + keys - 1) &&
         distance(band, i0 + rows - 1, j0) < band.most;
}
