"""What makes the kernels of the drawing page's visitors light: `python -m digit_utils.serving.kernel -f
CONNECTION_FILE`.

They are ordinary IPython kernels without what nobody can reach through the page: the debugger, a tenth of their memory,
and, by options that the page gives them, the capture of what is printed, a third of their work for each event. It is
done on import, because where kernels are forked it is a process with all imports that imports this, before the others.
"""

import logging
import sys

sys.modules["debugpy"] = None  # as if it were not installed
logging.getLogger("Comm").setLevel(logging.ERROR)  # a message for a widget that is gone is no news

if __name__ == "__main__":
    from ipykernel.kernelapp import launch_new_instance

    launch_new_instance()
