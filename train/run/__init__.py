"""One training run in one folder: the loop, its steps, losses, checkpoints, validation and the finished model.

May import data, evaluation, scenes, shared and birefnet_core.
"""
