"""Weights: reading, recognising, writing and fetching checkpoints. The bundled model lies here.

A file goes through `files` (reading), `inspection` (what it is; `metadata` and `recognise` help) and `published` (into
the network); `load` is the whole way. `catalog` is the table of published models.

`catalog` and `download` import neither torch nor timm, so that a host can list and fetch models at no cost.
"""
