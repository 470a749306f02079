"""`python -m birefnet_core`: matte, models, download, inspect, bench, demo."""

from .command import main

if __name__ == "__main__":
    raise SystemExit(main())
