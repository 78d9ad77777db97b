"""The kernel of one visitor of the drawing page: `python -m digit_utils.page_kernel -f CONNECTION_FILE`.

An ordinary IPython kernel without what nobody can reach through the page: its debugger, a tenth of its memory, and the
capture of what is printed, a third of its work for each event.
"""

import logging
import sys


def main() -> None:
    """Run a kernel until its server ends it."""
    sys.modules["debugpy"] = None  # as if it were not installed
    logging.getLogger("Comm").setLevel(logging.ERROR)  # a message for a widget that is gone is no news
    from ipykernel.kernelapp import launch_new_instance

    options = ["--HistoryManager.enabled=False", "--IPKernelApp.outstream_class=None", "--log-level=ERROR"]
    launch_new_instance([*sys.argv[1:], *options])


if __name__ == "__main__":
    main()
