"""Keeps Jupyter from importing modules that it uses if they are installed, and that nothing here needs."""

import sys

DEBUGGER = "debugpy"  # in each kernel: a fifth of its memory
ADDRESS_GRAMMAR = "rfc3987_syntax"  # of addresses that are not ASCII: two thirds of the time until the page is served


def pretend_not_installed(name: str) -> None:
    """Make `import name` raise ImportError in this process from now on, unless the module was imported before."""
    sys.modules.setdefault(name, None)
