"""Kernels and graphs for GPUs."""
