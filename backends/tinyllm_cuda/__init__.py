"""CUDA kernels and the code that launches them, without an array library.

A `Device` says where kernels run: CuPy's modules on a GPU, or in tests an emulator with the same
interface over NumPy arrays. So this package is imported where there is neither CuPy nor a GPU, and
what is tested there is what runs here. `kernels/` has one .cu file for each fused operation.
"""
