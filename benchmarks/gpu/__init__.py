"""The benchmark of the GPU kernels: ``python -m benchmarks.gpu``."""
