"""Measures of attacks and of generated images."""
