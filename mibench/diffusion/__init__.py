"""Diffusion models on a linear SDE: process, denoisers, training, sampling, likelihood."""
