"""Kernels for step notebooks: papermill's engine ``cellway``, and where its kernels come from."""
