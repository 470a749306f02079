"""What every room stands on: pictures, mattes, lists, files and packages, read and written in one way.

Imports birefnet_core only, and no torch before it is needed: the python that renders has none.
"""
