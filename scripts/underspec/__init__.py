"""Reward model underspecification: the grid, best-of-n, ensembles and their statistics.

The library does not depend on Snakemake: each stage of the workflow is a script
`scripts/<rule>.py` that calls it. analysis, report and provenance do not import torch.
"""
