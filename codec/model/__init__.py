"""Weights files, and what encoder and decoder need of them in memory."""
