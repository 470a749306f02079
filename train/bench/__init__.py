"""Speed and memory of training and of scoring, beside the reference implementation's.

May import every room; nothing imports it.
"""
