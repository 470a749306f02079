"""What a run is fed: pictures and mattes from folders, or scenes; augmented, split and drawn as batches.

May import scenes, shared and birefnet_core.
"""
