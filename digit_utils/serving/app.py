"""The drawing page: the pad of notebook 04, alone on a page, served with Voila.

Only the notebook's cells that are tagged `page` are served. They are written into a temporary folder at launch, so
there is one source, and a visitor's kernel imports nothing that drawing does not need.
"""

import contextlib
import io
import ipaddress
import json
import os
import secrets
import shutil
import signal
import socket
import sys
import tempfile
import threading
import uuid
import webbrowser
from collections.abc import Callable, Iterator
from pathlib import Path

import nbformat

from digit_utils.datasets.drawings import DrawingsFileError, check_drawings_file
from digit_utils.files import with_home
from digit_utils.notebook.execute import can_use_ipc, find_notebook
from digit_utils.notebook.fork_server import KERNEL, ForkServer
from digit_utils.recognition.recognizer import Recognizer

NOTEBOOK = "04_draw"
PAGE_TAG = "page"
PARAMETERS_TAG = "parameters"
PAD_PARAMETERS = {"drawings": "", "keep_all": False, "recall": False}
TITLE = "Draw a digit"
DEFAULT_PORT = 8866
LONGEST_SOCKET = f"voila_12345678/kernel-{uuid.uuid4()}-ipc-5"  # as Voila and Jupyter name it in the temporary folder
PORTS_TO_TRY = 50  # further ones, when the default port is taken
KERNELS_WAITING = 3  # started ahead for the next visitors, where others can come; one for a page of one's own
THEMES = ("light", "dark")
EXTENSIONS = [  # what the page's front end loads: ipycanvas and widget managers, Voila choosing by version among these
    "ipycanvas",
    "@jupyter-widgets/jupyterlab-manager",
    "@voila-dashboards/widgets-manager7",
    "@voila-dashboards/widgets-manager8",
]

TEMPLATE = Path(__file__).with_name("page.html.j2")
SCRIPT = Path(__file__).with_name("page.js")
TEMPLATE_NAME = "digits"
KERNEL_NAME = "digits"
KERNELS = Path("share", "kernels")  # within the page's folder
KERNEL_MODULE = "digit_utils.serving.kernel"
# Without the pad itself, which imports ipycanvas: that makes a widget at once, and does so in each kernel.
KERNEL_IMPORTS = [
    KERNEL_MODULE,
    *KERNEL,
    "ipywidgets",
    "PIL.Image",
    "digit_utils.recognition.recognizer",
    "digit_utils.pad.labelling",
]
KERNEL_OPTIONS = [
    *("--HistoryManager.enabled=False", "--IPKernelApp.outstream_class=None", "--log-level=ERROR"),
    "--IPKernelApp.extensions=ipywidgets",  # which listens to the page on import only when there is a kernel already
]


class PageError(RuntimeError):
    """The page cannot be served as asked; the message says what to change."""


def serve(
    *,
    model: str | Path | None = None,
    port: int | None = None,
    host: str = "127.0.0.1",
    token: str | None = None,
    theme: str = "light",
    drawings: str | Path | None = None,
    keep_all: bool = False,
    visitors: int | None = None,
    open_browser: bool = True,
) -> None:
    """Serve the drawing page until Ctrl-C, which ends every kernel and removes the temporary folder.

    Args:
        model: a model file or the folder of a run; None for the bundled model. It is read before the server starts.
        port: TCP port; None takes 8866, or a free one when that is taken.
        host: address to listen on. Any but a loopback address shows the page to other machines.
        token: what a visitor must know; part of the link that is printed. Made up for a host that is not loopback.
        theme: "light" or "dark".
        visitors: how many may draw at once; the next one is asked to wait. None for as many as the memory holds.
        drawings: a .jsonl file in which visitors' corrections are saved; None for nothing. On a page that only this
            machine can reach, the corrections in it are remembered; where others draw, nobody sees another one's.
        keep_all: whether drawings that were read right, and said to be so, are saved as well.
        open_browser: whether to open the page in the browser.

    Raises ModelFileError for a model that cannot be read, PageError for a host, port, token, theme or file of drawings
    that will not do.
    """
    if theme not in THEMES:
        raise PageError(f"there is no theme {theme!r}; choose one of {', '.join(THEMES)}")
    Recognizer.load(model)  # a broken model is told here, in the terminal, not in an empty page
    _check_address(host, port)
    _check_drawings(drawings, keep_all=keep_all)
    if token is None and not is_loopback(host):
        token = secrets.token_urlsafe(16)
    if not token and not is_loopback(host):
        raise PageError(f"{host} can be reached by others, so the page needs a token; leave it out to have one made up")
    keeping = {"drawings": _absolute(drawings), "keep_all": keep_all, "recall": is_loopback(host)}
    with contextlib.ExitStack() as at_the_end, _page_folder(model=model, **keeping) as folder:
        server = _make_server(folder / "draw.ipynb", port=port, host=host, token=token, theme=theme, visitors=visitors)
        # Voila removes the kernels' files before it ends the kernels, and one that was just starting writes its anew.
        at_the_end.callback(lambda: shutil.rmtree(server.connection_dir, ignore_errors=True))
        _when_listening(lambda: _greet(server, token=token, open_browser=open_browser))
        with _stopped_by_ctrl_c():
            server.start()


def is_loopback(host: str) -> bool:
    """Tell whether an address can only be reached from this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def page_notebook(*, model: str | Path | None = None, **parameters: object) -> nbformat.NotebookNode:
    """Return the notebook behind the page: the cells of notebook 04 tagged `page`, with the parameters filled in.

    `parameters` are those of the pad: `drawings`, `keep_all` and `recall`.

    Raises PageError when the notebook has no cell of that kind.
    """
    source = nbformat.read(find_notebook(NOTEBOOK), as_version=4)
    page = nbformat.v4.new_notebook(metadata={"title": TITLE, "kernelspec": _kernelspec()})
    for cell in source.cells:
        tags = cell.metadata.get("tags", [])
        if PARAMETERS_TAG in tags:
            values = {**PAD_PARAMETERS, **parameters, "model": _absolute(model)}
            lines = [f"{name} = {value!r}" for name, value in values.items()]
            page.cells.append(nbformat.v4.new_code_cell("\n".join(lines)))
        elif PAGE_TAG in tags:
            page.cells.append(_without_outputs(cell))
    if not any(cell.cell_type == "code" for cell in page.cells[1:]):
        raise PageError(f"notebook {NOTEBOOK} has no code cell tagged {PAGE_TAG!r}; install digit-utils again")
    return page


def _check_drawings(drawings: str | Path | None, *, keep_all: bool) -> None:
    """Raise PageError when drawings could not be saved as asked."""
    if keep_all and not drawings:
        raise PageError("to save all drawings, name the file: --drawings FILE.jsonl")
    try:
        if drawings:
            check_drawings_file(drawings)
    except (ValueError, DrawingsFileError) as error:
        raise PageError(str(error)) from error


def _absolute(path: str | Path | None) -> str:
    """Return a path that is still right in the kernel, whose working directory is another; "" where there is none."""
    return str(with_home(path).resolve()) if path else ""


def _without_outputs(cell: nbformat.NotebookNode) -> nbformat.NotebookNode:
    if cell.cell_type == "code":
        return nbformat.v4.new_code_cell(cell.source)
    return nbformat.v4.new_markdown_cell(cell.source)


def _kernelspec() -> dict[str, str]:
    return {"name": KERNEL_NAME, "display_name": "Python 3", "language": "python"}


@contextlib.contextmanager
def _page_folder(*, model: str | Path | None, **parameters: object) -> Iterator[Path]:
    """Make a temporary folder with the page's notebook, template and kernel, and let Jupyter find the latter two.

    The kernel is one that is forked from a process with everything imported, for as long as the folder is there.
    """
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="digits-page-")))
        nbformat.write(page_notebook(model=model, **parameters), folder / "draw.ipynb")
        fork_server = stack.enter_context(contextlib.closing(_fork_server()))
        import digit_utils.serving.handlers  # noqa: F401  # needed next anyway: here, while the fork server imports its own

        share = folder / "share"
        template = share / "voila" / "templates" / TEMPLATE_NAME
        template.mkdir(parents=True)
        shutil.copyfile(TEMPLATE, template / "index.html.j2")
        shutil.copyfile(SCRIPT, template / SCRIPT.name)
        (template / "conf.json").write_text('{"base_template": "lab"}', encoding="utf-8")
        kernel = folder / KERNELS / KERNEL_NAME
        kernel.mkdir(parents=True)
        (kernel / "kernel.json").write_text(json.dumps(_kernel_description(fork_server)), encoding="utf-8")
        with _environment("JUPYTER_PATH", os.pathsep.join(filter(None, [str(share), os.environ.get("JUPYTER_PATH")]))):
            yield folder


def _fork_server() -> ForkServer:
    """Return a process with what the page's kernels import. It ends with this one, not at the terminal's Ctrl-C."""
    # With threads it could not be forked; a kernel's matrices are too small for them.
    environment = {"OPENBLAS_NUM_THREADS": "1"}
    return ForkServer(KERNEL_IMPORTS, environment, stderr=None, start_new_session=True)


def _kernel_description(fork_server: ForkServer) -> dict[str, object]:
    """Describe a kernel of this very Python, whatever other kernels the user has installed under usual names."""
    command = fork_server.command(otherwise=[sys.executable, "-m", KERNEL_MODULE])
    argv = [*command, "-f", "{connection_file}", *KERNEL_OPTIONS]
    return {"argv": argv, "display_name": "Python 3", "language": "python"}


@contextlib.contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    """Set an environment variable for a while."""
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def _check_address(host: str, port: int | None) -> None:
    """Raise PageError when the server could not listen there."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port or 0, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            if os.name == "posix":  # a port that was closed a moment ago is free, as it is for the server
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        place = f"port {port} on {host}" if port else host
        raise PageError(f"cannot listen on {place}: {reason}. Choose another --port or --host") from error


def _make_server(notebook: Path, *, port: int | None, host: str, token: str | None, theme: str, visitors: int | None):
    """Return a Voila application that serves one notebook and nothing else, ready to start."""
    from traitlets.config import Config

    from digit_utils.serving.handlers import DrawingServer
    from digit_utils.serving.sessions import PageKernelSpecs, VisitorsKernels, default_limit

    config = Config()
    config.Voila.ip = host
    config.Voila.port = DEFAULT_PORT if port is None else port
    config.Voila.port_retries = PORTS_TO_TRY if port is None else 0
    config.Voila.open_browser = False  # `_greet` does that, without leaving a file behind
    config.Voila.token = token or ""
    config.Voila.log_level = "ERROR"
    if can_use_ipc(Path(tempfile.gettempdir()) / LONGEST_SOCKET):
        # No ports between server and kernels, so no race for them, and no other user of the machine can connect.
        config.ConnectionFileMixin.transport = "ipc"
    # Only from pages of this machine; a name that another site points here is turned away.
    config.Voila.tornado_settings = {"allow_remote_access": not is_loopback(host)}
    config.VoilaConfiguration.template = TEMPLATE_NAME
    config.VoilaConfiguration.allow_template_override = "NO"
    config.VoilaConfiguration.theme = theme
    config.VoilaConfiguration.show_tracebacks = False
    config.VoilaConfiguration.strip_sources = True
    config.VoilaConfiguration.preheat_kernel = True  # the next visitor's kernel is ready before the visitor comes
    config.VoilaConfiguration.default_pool_size = 1 if is_loopback(host) else KERNELS_WAITING
    config.VoilaConfiguration.multi_kernel_manager_class = VisitorsKernels
    config.VoilaConfiguration.file_allowlist = []
    config.VoilaConfiguration.extension_allowlist = EXTENSIONS
    config.VoilaConfiguration.kernel_spec_manager_class = PageKernelSpecs
    config.PageKernelSpecs.kernel_dirs = [str(notebook.parent / KERNELS)]
    config.KernelManager.autorestart = False  # a new kernel would know nothing of the drawing; the page asks to reload
    # No configuration file has a say: a user's own settings for other pages could break this one.
    server = DrawingServer(config=config, notebook_path=str(notebook), config_file_paths=[])
    server.visitors_limit = visitors or default_limit()
    server.extensions = EXTENSIONS
    server.initialize(argv=[])
    return server


def _when_listening(action: Callable[[], None]) -> None:
    """Call an action once the server's loop runs; it starts to listen just before that."""
    import tornado.ioloop

    tornado.ioloop.IOLoop.current().add_callback(action)


@contextlib.contextmanager
def _stopped_by_ctrl_c() -> Iterator[None]:
    """Have Ctrl-C stop the server's loop between two steps, not in the middle of one. A second Ctrl-C is as usual."""
    import tornado.ioloop
    import tornado.web

    loop = tornado.ioloop.IOLoop.current()

    def stop(*_) -> None:
        signal.signal(signal.SIGINT, before)
        loop.add_callback_from_signal(loop.stop)

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield
    except tornado.web.HTTPError:
        pass  # a kernel that had only begun to start could not be ended; it ends when it misses its parent
    finally:
        signal.signal(signal.SIGINT, before)


def _greet(server, *, token: str | None, open_browser: bool) -> None:
    address = page_address(server.ip, server.port, token=token)
    print(f"Draw at {address}  (Ctrl-C stops the page)", flush=True)
    if not is_loopback(server.ip):
        print(f"Whoever has this link can draw, {server.visitors_limit} at once; nobody else can.", flush=True)
        print_qr_code(address)
    if open_browser:
        threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()


def print_qr_code(address: str) -> None:
    """Print a link as a QR code, for the phone's camera; nothing where the terminal lacks the characters for it."""
    import segno

    picture = io.StringIO()
    segno.make(address, error="m", micro=False).terminal(picture, compact=True, border=2)
    with contextlib.suppress(UnicodeEncodeError):
        print(picture.getvalue(), flush=True)


def page_address(host: str, port: int, *, token: str | None = None) -> str:
    """Return the link to the page, with the token where one is needed."""
    if host in ("", "0.0.0.0", "::"):  # all addresses of this machine: name one that others can reach
        host = _outer_address(socket.AF_INET6 if host == "::" else socket.AF_INET)
    name = f"[{host}]" if ":" in host else host
    return f"http://{name}:{port}/" + (f"?token={token}" if token else "")


def _outer_address(family: socket.AddressFamily) -> str:
    """Return this machine's address in its network, or its name where it has no network."""
    somewhere = "2001:db8::1" if family == socket.AF_INET6 else "192.0.2.1"  # reserved for documentation
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((somewhere, 9))  # sends nothing; it only chooses the way out
            return probe.getsockname()[0]
    except OSError:
        return socket.gethostname()
