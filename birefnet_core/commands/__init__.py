"""The command line, above everything else in the core: one subcommand a file, `main` puts them together.

May import all of birefnet_core; nothing in it imports this. torch comes in late, so that help and wrong arguments cost
nothing.
"""
