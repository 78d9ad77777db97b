"""The drawing page: the pad of notebook 04, alone on a page, served with Voila.

Only the notebook's cells tagged `page` are served. They are written into a temporary folder at launch, so there is one
source, and a visitor's kernel imports nothing that drawing does not need.
"""

import contextlib
import io
import ipaddress
import json
import os
import re
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
TITLE = "Draw a digit or a number"
DEFAULT_PORT = 8866
LONGEST_SOCKET = f"voila_12345678/kernel-{uuid.uuid4()}-ipc-5"  # as Voila and Jupyter name it in the temporary folder
PORT_RETRIES = 50  # further ports to try when the default one is taken
POOL_SIZE = 3  # kernels started ahead for the next visitors, where others can come; one for a page of one's own
THEMES = ("auto", "light", "dark")  # auto: as the visitor's system is
EXTENSIONS = [  # of the front end: ink layer, canvas, and the widget managers, among which Voila chooses by version
    "anywidget",
    "ipycanvas",
    "@jupyter-widgets/jupyterlab-manager",
    "@voila-dashboards/widgets-manager7",
    "@voila-dashboards/widgets-manager8",
]

TEMPLATE = "page.html.j2"
KERNEL_NAME = "digits"
KERNELS_FOLDER = "kernels"  # within the page's temporary folder
KERNEL_LANGUAGE = {"display_name": "Python 3", "language": "python"}
KERNEL_MODULE = "digit_utils.serving.kernel"
# Without the pad itself, which imports ipycanvas: that makes a widget on import, and each kernel needs its own.
KERNEL_IMPORTS = [
    KERNEL_MODULE,
    *KERNEL,
    "ipywidgets",
    "anywidget",
    "PIL.Image",
    "digit_utils.recognition.recognizer",
    "digit_utils.pad.labelling",
]
KERNEL_OPTIONS = [
    # Capturing what is printed would be a third of a kernel's work for each event.
    *("--HistoryManager.enabled=False", "--IPKernelApp.outstream_class=None", "--log-level=ERROR"),
    "--IPKernelApp.extensions=ipywidgets",  # imported before the kernel exists, it has not registered its comms
]


class PageError(RuntimeError):
    """The page cannot be served as asked; the message says what to change."""


def serve(
    *,
    model: str | Path | None = None,
    port: int | None = None,
    host: str = "127.0.0.1",
    base_url: str = "/",
    theme: str = "auto",
    drawings: str | Path | None = None,
    keep_all: bool = False,
    visitors: int | None = None,
    open_browser: bool = True,
) -> None:
    """Serve the drawing page until Ctrl-C, which ends every kernel and removes the temporary folder.

    Args:
        model: a model file or the folder of a run; None for the bundled model. It is loaded before the server starts.
        port: TCP port; None takes 8866, or a free one when that is taken.
        host: address to listen on. Any but a loopback address shows the page to other machines; the link that is
            printed then holds a secret token, which a visitor must know.
        base_url: the path under which a reverse proxy shows the page, such as "/draw/"; the proxy may pass it on or
            not. Whom it lets in can draw, so the page counts as one that others can reach.
        theme: "light", "dark" or "auto", which is as the visitor's system is; visitors can choose another.
        drawings: a .jsonl file in which visitors' corrections are saved; None to save nothing. On a page that only this
            machine can reach, the corrections in it are used; where others draw, nobody's corrections affect others.
        keep_all: whether labelled drawings that were recognised correctly are saved as well.
        visitors: how many may draw at once; the next one is asked to wait. None for as many as fit into memory.
        open_browser: whether to open the page in the browser.

    Raises:
        ModelFileError: the model cannot be loaded.
        PageError: the host, port, base URL, theme or file of drawings cannot be used.
    """
    if theme not in THEMES:
        raise PageError(f"there is no theme {theme!r}; choose one of {', '.join(THEMES)}")
    Recognizer.load(model)  # a broken model is reported here, in the terminal, not on an empty page
    _check_address(host, port)
    _check_drawings(drawings, keep_all=keep_all)
    token = None if is_loopback(host) else secrets.token_urlsafe(16)
    base_url = _checked_base_url(base_url)
    private = is_loopback(host) and base_url == "/"
    saving = {"drawings": _absolute(drawings), "keep_all": keep_all, "recall": private}
    with _page_folder(model=model, **saving) as folder:
        server = _make_server(
            folder, port=port, host=host, token=token, base_url=base_url, theme=theme, visitors=visitors
        )
        _run(server, announce=lambda: _announce(server, token=token, open_browser=open_browser))


def is_loopback(host: str) -> bool:
    """Tell whether an address can only be reached from this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def page_notebook(*, model: str | Path | None = None, **parameters: object) -> nbformat.NotebookNode:
    """Return the notebook behind the page: a cell with the parameters, then the cells of notebook 04 tagged `page`.

    `parameters` are those of the pad: `drawings`, `keep_all` and `recall`.

    Raises PageError when the notebook has no such code cell.
    """
    cells = nbformat.read(find_notebook(NOTEBOOK), as_version=4).cells
    cells = [cell for cell in cells if PAGE_TAG in cell.metadata.get("tags", [])]
    if not any(cell.cell_type == "code" for cell in cells):
        raise PageError(f"notebook {NOTEBOOK} has no code cell tagged {PAGE_TAG!r}; install digit-utils again")
    for cell in cells:
        if cell.cell_type == "code":
            cell.outputs = []
    values = {"drawings": "", "keep_all": False, "recall": False, **parameters, "model": _absolute(model)}
    settings = nbformat.v4.new_code_cell("\n".join(f"{name} = {value!r}" for name, value in values.items()))
    page = nbformat.v4.new_notebook(metadata={"title": TITLE, "kernelspec": {"name": KERNEL_NAME, **KERNEL_LANGUAGE}})
    page.cells = [settings, *cells]
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
    """Return an absolute path, because the kernel has another working directory; "" for None."""
    return str(with_home(path).resolve()) if path else ""


@contextlib.contextmanager
def _page_folder(*, model: str | Path | None, **parameters: object) -> Iterator[Path]:
    """Make a temporary folder with the page's notebook and the description of its kernel.

    The kernels are forked from a process that has imported everything, which runs as long as the folder exists.
    """
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="digits-page-")))
        stack.enter_context(_home_for_jupyter(folder / "jupyter"))
        nbformat.write(page_notebook(model=model, **parameters), folder / "draw.ipynb")
        # It must have no threads, or it could not be forked. It ends with this process, not at the terminal's Ctrl-C.
        fork_server = ForkServer(KERNEL_IMPORTS, {"OPENBLAS_NUM_THREADS": "1"}, stderr=None, start_new_session=True)
        stack.callback(fork_server.close)
        import digit_utils.serving.handlers  # noqa: F401  # needed next anyway: here, while the fork server imports its own

        kernel = folder / KERNELS_FOLDER / KERNEL_NAME
        kernel.mkdir(parents=True)
        # A kernel of this very Python, whatever other kernels the user has installed under usual names.
        command = fork_server.command(otherwise=[sys.executable, "-m", KERNEL_MODULE])
        description = {"argv": [*command, "-f", "{connection_file}", *KERNEL_OPTIONS], **KERNEL_LANGUAGE}
        (kernel / "kernel.json").write_text(json.dumps(description), encoding="utf-8")
        yield folder


@contextlib.contextmanager
def _home_for_jupyter(stand_in: Path) -> Iterator[None]:
    """Let a temporary folder stand in for those folders of Jupyter's that cannot be written, as in a container."""
    from jupyter_core import paths

    wanted = {"JUPYTER_DATA_DIR": paths.jupyter_data_dir, "JUPYTER_RUNTIME_DIR": paths.jupyter_runtime_dir}
    changed = [name for name, place in wanted.items() if not _can_write(place)]
    if changed:
        changed += ["JUPYTER_CONFIG_DIR", "IPYTHONDIR"]
    if not _can_write(Path.home):
        changed.append("HOME")  # it is not known at all, or Jupyter would look there again
    before = {name: os.environ.get(name) for name in changed}
    os.environ.update({name: str(stand_in / name.lower()) for name in changed})
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _can_write(place: Callable[[], str | Path]) -> bool:
    try:
        folder = Path(place())
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except (OSError, RuntimeError):  # no permission; nobody knows the home
        return False


def _checked_base_url(base_url: str) -> str:
    """Return a path that begins and ends with a slash. Raises PageError for what cannot be one."""
    if not re.fullmatch(r"[\w./~-]*", base_url, re.ASCII):
        raise PageError(f"the base URL is {base_url!r}; give the path alone, such as --base-url /draw/")
    return f"/{base_url.strip('/')}/".replace("//", "/")


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


def _make_server(
    folder: Path,
    *,
    port: int | None,
    host: str,
    token: str | None,
    base_url: str,
    theme: str,
    visitors: int | None,
):
    """Return a Voila application that serves the page in a folder and nothing else, ready to start."""
    from traitlets.config import Config

    from digit_utils.serving.handlers import BASE_TEMPLATE, DrawingServer
    from digit_utils.serving.sessions import default_limit
    from digit_utils.serving.voila_adapter import PageKernelSpecs, VisitorKernels

    config = Config()
    config.Voila.ip = host
    config.Voila.port = DEFAULT_PORT if port is None else port
    config.Voila.port_retries = PORT_RETRIES if port is None else 0
    config.Voila.open_browser = False  # `_announce` does that, without leaving a file behind
    config.Voila.token = token or ""
    config.Voila.base_url = base_url
    config.Voila.log_level = "ERROR"
    if can_use_ipc(Path(tempfile.gettempdir()) / LONGEST_SOCKET):
        # No ports between server and kernels, so no race for them, and no other user of the machine can connect.
        config.ConnectionFileMixin.transport = "ipc"
    # On a loopback address, a request under another host name is refused: another site may point its name here. A
    # reverse proxy passes on its own name.
    private = is_loopback(host) and base_url == "/"
    config.Voila.tornado_settings = {"allow_remote_access": not private}
    config.VoilaConfiguration.template = BASE_TEMPLATE
    config.VoilaConfiguration.allow_template_override = "NO"
    config.VoilaExporter.template_file = TEMPLATE
    config.VoilaConfiguration.allow_theme_override = "NO"
    config.VoilaConfiguration.resources = {"page_theme": theme}  # Voila's own knows no choice by the visitor
    config.VoilaConfiguration.preheat_kernel = True  # the next visitor's kernel is ready before the visitor comes
    config.VoilaConfiguration.default_pool_size = 1 if private else POOL_SIZE
    config.VoilaConfiguration.multi_kernel_manager_class = VisitorKernels
    config.VoilaConfiguration.extension_allowlist = EXTENSIONS
    config.VoilaConfiguration.kernel_spec_manager_class = PageKernelSpecs
    config.PageKernelSpecs.kernel_dirs = [str(folder / KERNELS_FOLDER)]
    config.KernelManager.autorestart = False  # a new kernel would not have the drawing; the page asks to reload
    # No configuration files: a user's settings for other pages could break this one.
    server = DrawingServer(config=config, notebook_path=str(folder / "draw.ipynb"), config_file_paths=[])
    server.visitors_limit = visitors or default_limit()
    server.extensions = EXTENSIONS
    server.initialize(argv=[])
    return server


def _run(server, *, announce: Callable[[], None]) -> None:
    """Serve until Ctrl-C; call `announce` once the server listens."""
    import tornado.ioloop
    import tornado.web

    loop = tornado.ioloop.IOLoop.current()

    def stop(*_) -> None:  # the loop, between two steps; a second Ctrl-C interrupts as usual
        signal.signal(signal.SIGINT, signal.default_int_handler)
        loop.add_callback_from_signal(loop.stop)

    signal.signal(signal.SIGINT, stop)
    loop.add_callback(announce)  # the loop runs from the moment when the server listens
    try:
        # A kernel that had only begun to start cannot be ended; it ends by itself without its parent.
        with contextlib.suppress(tornado.web.HTTPError):
            server.start()
    finally:
        # Voila removes the kernels' files before it ends the kernels; one that was just starting recreates its own.
        shutil.rmtree(server.connection_dir, ignore_errors=True)


def _announce(server, *, token: str | None, open_browser: bool) -> None:
    """Print the link, with a QR code where others can come, and open the browser."""
    address = page_address(server.ip, server.port, path=server.base_url, token=token)
    print(f"Draw at {address}  (Ctrl-C stops the page)", flush=True)
    if server.base_url != "/":
        print(f"A reverse proxy can serve it under {server.base_url}; anyone it lets in can draw.", flush=True)
    if not is_loopback(server.ip):
        print(f"Anyone with this link can draw, up to {server.visitors_limit} at once; nobody else can.", flush=True)
        print_qr_code(address)
    if open_browser:
        threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()


def print_qr_code(address: str) -> None:
    """Print a link as a QR code, for a phone's camera, or nothing where the terminal lacks the characters."""
    import segno

    picture = io.StringIO()
    segno.make(address, error="m", micro=False).terminal(picture, compact=True, border=2)
    with contextlib.suppress(UnicodeEncodeError):
        print(picture.getvalue(), flush=True)


def page_address(host: str, port: int, *, path: str = "/", token: str | None = None) -> str:
    """Return the link to the page, with the token where one is needed."""
    if host in ("", "0.0.0.0", "::"):  # all addresses of this machine: choose one that others can reach
        host = _outer_address(socket.AF_INET6 if host == "::" else socket.AF_INET)
    name = f"[{host}]" if ":" in host else host
    return f"http://{name}:{port}{path}" + (f"?token={token}" if token else "")


def _outer_address(family: socket.AddressFamily) -> str:
    """Return this machine's address in its network, or its name where it has no network."""
    somewhere = "2001:db8::1" if family == socket.AF_INET6 else "192.0.2.1"  # reserved for documentation
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((somewhere, 9))  # sends nothing; it only chooses the way out
            return probe.getsockname()[0]
    except OSError:
        return socket.gethostname()
