"""Training and evaluation. `train.py`, `evaluate.py` and `average.py` are the programs; the rooms stand on each other:

shared < scenes < data < run; shared < scenes < evaluation < run; bench above all. `recipe.py` and `tables.py` say what
a run is and may be imported by every room. birefnet_core never imports from here.
"""
