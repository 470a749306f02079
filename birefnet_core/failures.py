"""What the work on one file may end in, so that the others go on."""

FAILURES = (ValueError, OSError, RuntimeError, ArithmeticError, MemoryError)
