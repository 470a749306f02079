"""Inventing pictures: cut-outs composed on backgrounds (scenes), and the pack they come from (training_pack, renders).

May import shared and birefnet_core.
"""
