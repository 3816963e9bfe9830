"""Tests of the C++ kernels without PyTorch."""
