"""Evaluation sets built on the user's machine from packages; nothing of them is redistributed.

One set so far, E1: photographed cut-outs (animals, plants, food, instruments, vehicles) pasted on photographs. In a
folder:

    apt-get download tuxpaint-stamps-default plasma-workspace-wallpapers mate-backgrounds

then, from the repository root:

    python -m train.evaluation_sets E1 --packages FOLDER --out E1
    python train/evaluate.py --model bundled --data E1

Such figures rank models on the same images and catch regressions. They do not stand in for DIS5K or P3M: the objects
are pasted (no shared light or shadow), about 500 pixels at most, and nearly without people.

A new set is a module with `build(packages, out)` and a line in __main__.py.
"""
