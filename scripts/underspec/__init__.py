"""Reward model underspecification: the grid, best-of-n, ensembles and their statistics.

The library does not know Snakemake; every stage of the workflow is one function that
`scripts/<rule>.py` calls. Nothing at or below `rerank` imports torch.
"""
