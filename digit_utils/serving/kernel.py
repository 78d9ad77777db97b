"""Starts a kernel of the drawing page, without what no visitor can reach: `python -m digit_utils.serving.kernel`.

Importing this module prepares the process; where kernels are forked, the fork server imports it before all others.
"""

import logging

from digit_utils.serving.start_up import DEBUGGER, pretend_not_installed

pretend_not_installed(DEBUGGER)
logging.getLogger("Comm").setLevel(logging.ERROR)  # messages for widgets that no longer exist are nothing to report

if __name__ == "__main__":
    from ipykernel.kernelapp import launch_new_instance

    launch_new_instance()
