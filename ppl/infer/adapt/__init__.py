"""Adaptation, beside the kernels: step sizes, warm-up windows, metrics."""
