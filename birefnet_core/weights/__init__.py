"""Weights: reading, recognising, writing and fetching checkpoints. The bundled model lies here.

`catalog` and `download` import neither torch nor timm, so that a host can list and fetch models at no cost.
"""
