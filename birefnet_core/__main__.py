"""`python -m birefnet_core`: matte, models, download, inspect, export, bench, demo."""

import signal

from .commands.main import main
from .names import let_stdout_take_any_name

if __name__ == "__main__":
    # What ends a run politely, as torchrun and `kill` do, is cleaned up after as Ctrl-C is.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    let_stdout_take_any_name()
    raise SystemExit(main())
