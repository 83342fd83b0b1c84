// Rows that share an index, added up in their order: so every run gives the same bits, where atomic
// additions would come in an order that changes.
//
// order (N,) sorts the rows by their index; those of index i are at order[k] for first[i] <= k < first[i + 1].
//
// values (N, D) -> out (n, D)
#ifdef DOUBLE
typedef double real;
#else
typedef float real;
#endif
extern "C" __global__ void __launch_bounds__(256)
    index_add(const real *values, const long long *order, const long long *first, real *out, int D) {
  const long long i = blockIdx.x;
  const int column = blockIdx.y * blockDim.x + threadIdx.x;
  if (column >= D) return;
  real sum = 0;
  for (long long k = first[i]; k < first[i + 1]; k++) sum += values[order[k] * D + column];
  out[i * D + column] = sum;
}
