"""How good mattes are: metrics, scoring of folders, the evaluation sets (sets) and other projects' models (peers).

May import scenes, shared and birefnet_core.
"""
