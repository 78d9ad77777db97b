"""Whether the installed Voila and Jupyter Server have what the page uses of them, and which kernel a visitor gets."""

import asyncio
import inspect
import time
import urllib.error
import urllib.request
from types import SimpleNamespace

import jupyter_server
import pytest
import voila
from jupyter_server.services.kernels.connection.channels import ZMQChannelsWebsocketConnection
from jupyter_server.services.kernels.kernelmanager import AsyncMappingKernelManager
from jupyter_server.services.kernels.websocket import KernelWebsocketHandler
from tornado.httpserver import HTTPServer
from tornado.iostream import BaseIOStream
from traitlets.config import Configurable
from voila.app import Voila
from voila.configuration import VoilaConfiguration
from voila.exporter import VoilaExporter
from voila.handler import VoilaHandler
from voila.static_file_handler import MultiStaticFileHandler
from voila.voila_kernel_manager import voila_kernel_manager_factory

from digit_utils.serving.handlers import BASE_TEMPLATE, BROKEN
from digit_utils.serving.voila_adapter import ReportingKernels, VisitorKernels
from tests.support.page_client import KERNEL_ID, running_page

NOTEBOOK = "draw.ipynb"
VERSIONS = f"Voila {voila.__version__}, Jupyter Server {jupyter_server.__version__}"

# ------------------------------------------------------------------------------------------- supported versions


@pytest.mark.parametrize(
    ("owner", "method", "parameters"),
    [
        (Voila, "initialize", ["argv"]),
        (Voila, "setup_template_dirs", []),
        (Voila, "init_settings", []),
        (Voila, "init_handlers", []),
        (Voila, "listen", []),
        (VoilaHandler, "get_generator", ["path"]),
        (MultiStaticFileHandler, "initialize", ["paths"]),
        (AsyncMappingKernelManager, "start_watching_activity", ["kernel_id"]),
        (AsyncMappingKernelManager, "shutdown_kernel", ["kernel_id", "now"]),
        (KernelWebsocketHandler, "pre_get", []),
        (KernelWebsocketHandler, "open", ["kernel_id"]),
        (KernelWebsocketHandler, "on_message", ["ws_message"]),
        (KernelWebsocketHandler, "on_close", []),
        (KernelWebsocketHandler, "check_origin", ["origin"]),
        (KernelWebsocketHandler, "write_message", ["message", "binary"]),
        (BaseIOStream, "__init__", ["max_write_buffer_size"]),
        (HTTPServer, "initialize", ["max_body_size", "idle_connection_timeout", "body_timeout"]),
        (ZMQChannelsWebsocketConnection, "handle_incoming_message", ["incoming_msg"]),
        (ZMQChannelsWebsocketConnection, "handle_outgoing_message", ["stream", "outgoing_msg"]),
    ],
)
def test_this_version_has_the_methods_that_the_page_overrides_or_calls(owner, method, parameters):
    found = getattr(owner, method, None)
    assert found is not None, f"{VERSIONS}: {owner.__name__} has no method {method}"
    lacking = set(parameters) - set(inspect.signature(found).parameters)
    assert not lacking, f"{VERSIONS}: {owner.__name__}.{method} takes no {', '.join(sorted(lacking))}"


@pytest.mark.parametrize(
    ("owner", "names"),
    [
        (Voila, "ip port port_retries open_browser token root_dir server_url tornado_settings notebook_path"),
        (
            VoilaConfiguration,
            "template resources allow_template_override allow_theme_override preheat_kernel default_pool_size "
            "multi_kernel_manager_class extension_allowlist kernel_spec_manager_class",
        ),
        (VoilaExporter, "template_file"),
        (ZMQChannelsWebsocketConnection, "limit_rate kernel_ws_protocol"),
    ],
)
def test_this_version_has_the_settings_that_the_page_sets(owner, names):
    lacking = [name for name in names.split() if not owner.class_traits().get(name)]
    assert not lacking, f"{VERSIONS}: {owner.__name__} has no setting {', '.join(lacking)}"


def test_this_version_keeps_its_pool_of_kernels_as_the_page_expects():
    pool = Pool("well")

    async def fill():
        pool.fill_if_needed(delay=0, notebook_name=NOTEBOOK)
        (start, _) = pool._pools[NOTEBOOK]
        assert {"task", "kernel_id"} <= set(await start), f"{VERSIONS}: another kind of pool"

    asyncio.run(fill())
    assert set(inspect.signature(pool.get_rendered_notebook).parameters) >= {"notebook_name"}, VERSIONS
    assert "self.kernel_manager" in inspect.getsource(VoilaHandler.get_generator), VERSIONS
    assert VoilaConfiguration().template == BASE_TEMPLATE


# ----------------------------------------------------------------------------------- which kernel a visitor gets


class Server(Configurable):
    """Stands for the server that a pool belongs to."""

    base_url = server_url = "/"
    port = 0


class Pool(voila_kernel_manager_factory(VisitorKernels, preheat_kernel=True, default_pool_size=2)):
    """Voila's pool of kernels. The n-th start goes as the n-th of `starts` says, and well when there is no further."""

    def __init__(self, *starts):
        self.parent, self.notebook_data, self._pools, self._kernels = Server(), {}, {}, {}
        self.starts, self.ended = list(starts), []
        self.count = 0
        self.fill_delay = 0

    async def _initialize(self, notebook_name, kernel_id, **_):
        start = self.starts.pop(0) if self.starts else "well"
        self.count += 1
        if start == "fails":
            raise RuntimeError("no kernel could be started")
        kernel_id = f"{start} {self.count}"
        if start != "is forgotten":
            self._kernels[kernel_id] = SimpleNamespace(has_kernel=True, is_alive=lambda: start != "is dead")
        render = asyncio.create_task(_render(start))
        render.add_done_callback(lambda done: done.cancelled() or done.exception())  # so that asyncio logs nothing
        return {"task": render, "renderer": SimpleNamespace(rendered_cache=["cell"]), "kernel_id": kernel_id}


async def _render(start):
    if start == "fails later":
        raise RuntimeError("the page could not be made")
    if start == "takes long":
        await asyncio.sleep(60)


@pytest.fixture
def visit(monkeypatch):
    """Return a function that lets a visitor come to a pool; it returns the kernel that is handed out and reported."""

    async def shut_down(self, name, *, now):
        self.ended.append(name)
        del self._kernels[name]

    async def come(pool):
        reported = []
        pool.fill_if_needed(delay=0, notebook_name=NOTEBOOK)
        await asyncio.sleep(0.01)  # the kernels are started, or have failed
        await pool.renew_pool()
        kernels = ReportingKernels(pool, on_kernel=reported.append)
        _, cells, kernel_id = await kernels.get_rendered_notebook(
            notebook_name=NOTEBOOK, extra_kernel_env_variables={"VOILA_REQUEST_URL": "/"}
        )
        await asyncio.sleep(0.01)  # likewise
        assert (reported, cells) == ([kernel_id], ["cell"])
        return kernel_id

    monkeypatch.setattr(AsyncMappingKernelManager, "shutdown_kernel", shut_down)
    return lambda pool: asyncio.run(asyncio.wait_for(come(pool), 5))


@pytest.mark.parametrize(
    ("starts", "handed_out", "ended"),
    [
        (["well"], "well 1", []),
        (["fails"], "well 2", []),
        (["fails", "fails"], "well", []),
        (["is dead", "fails"], "well", ["is dead 1"]),
        (["fails later"], "well 2", ["fails later 1"]),
        (["is forgotten"], "well 2", []),
    ],
)
def test_a_visitor_gets_a_kernel_that_works_and_the_pool_is_as_full_as_before(visit, starts, handed_out, ended):
    pool = Pool(*starts)
    assert visit(pool).startswith(handed_out)
    assert pool.ended == ended
    assert pool.get_pool_size(NOTEBOOK) == 2


def test_a_page_in_the_making_is_not_waited_for(visit):
    started = time.monotonic()
    assert visit(Pool("takes long")) == "takes long 1"
    assert time.monotonic() - started < 2


def test_a_kernel_that_cannot_be_ended_keeps_nobody_from_the_next_one(visit, monkeypatch, caplog):
    async def fail(self, name):
        raise RuntimeError("it lives on")

    monkeypatch.setattr(VisitorKernels, "end_kernel", fail)
    assert visit(Pool("is dead")) == "well 2"
    assert "it lives on" in caplog.text


def test_when_no_kernel_works_the_next_visitor_finds_a_full_pool_all_the_same(visit):
    pool = Pool(*["fails"] * 4)
    with pytest.raises(RuntimeError, match="no kernel could be started"):
        visit(pool)
    assert visit(pool).startswith("well")
    assert pool.get_pool_size(NOTEBOOK) == 2


def test_a_kernel_is_ended_although_one_in_the_pool_could_not_be_started(monkeypatch):
    ended = []

    async def shut_down(self, name, *, now):
        ended.append(name)

    async def end():
        failed = asyncio.get_running_loop().create_future()
        failed.set_exception(RuntimeError("no kernel could be started"))
        pool = Pool()
        pool._kernels, pool._pools = {"a": None}, {NOTEBOOK: [failed]}
        await pool.end_kernel("a")

    monkeypatch.setattr(AsyncMappingKernelManager, "shutdown_kernel", shut_down)
    asyncio.run(end())
    assert ended == ["a"]


def test_a_kernel_started_because_the_pool_is_empty_is_reported():
    class Kernels:
        async def start_kernel(self, **options):
            return options["path"]

    reported = []
    assert asyncio.run(ReportingKernels(Kernels(), on_kernel=reported.append).start_kernel(path="cold")) == "cold"
    assert reported == ["cold"]


# ------------------------------------------------------------------------------------------- on a running page


def ask(address):
    """Return the status and the text of a page."""
    try:
        with urllib.request.urlopen(address, timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


@pytest.mark.slow
def test_on_a_page_whose_kernels_fail_for_a_while_nobody_sees_more_than_one_sentence_of_it(tmp_path):
    handed = set()

    def visit():
        status, page = ask(address)
        assert status == 200
        handed.add(KERNEL_ID.search(page)[1])

    def let_the_next_fail():
        """Hand out the kernel that waits, while no other can be started."""
        end = time.monotonic() + 30
        while not {file.stem.removeprefix("kernel-") for file in tmp_path.rglob("kernel-*.json")} - handed:
            assert time.monotonic() < end, "no kernel waits"
            time.sleep(0.1)
        kernel.rename(hidden)
        visit()
        time.sleep(2)  # Voila starts the next one after a second

    with running_page(TMPDIR=str(tmp_path)) as (_, address):
        (kernel,) = tmp_path.glob("digits-page-*/kernels/digits/kernel.json")
        hidden = kernel.with_suffix(".hidden")
        visit()
        let_the_next_fail()
        hidden.rename(kernel)
        visit()
        let_the_next_fail()
        status, page = ask(address)
        assert status == 500
        assert all(words in page for words in BROKEN)
        assert "Traceback" not in page
        hidden.rename(kernel)
        visit()
