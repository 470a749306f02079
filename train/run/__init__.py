"""One training run in one folder: the loop, its steps, losses, checkpoints, validation and the finished model.

`train.py` makes a Training (loop.py), whose `run` takes steps (step.py) on a State (state.py) by the losses (losses.py)
and has them written (report.py).

May import data, evaluation, scenes, shared and birefnet_core.
"""
