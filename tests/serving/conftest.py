"""Running pages that several tests of this folder visit."""

from urllib.parse import urlsplit

import pytest

from tests.support.page_client import running_page


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """A page for one's own machine; its address."""
    with running_page("--theme", "dark", TMPDIR=str(tmp_path_factory.mktemp("server"))) as (_, address):
        yield address


@pytest.fixture(scope="session")
def guarded():
    """A page for others, with its token, and room for three; its link, to this machine."""
    with running_page("--host", "0.0.0.0", "--visitors", "3") as (_, address):
        yield f"http://127.0.0.1:{urlsplit(address).port}/?{urlsplit(address).query}"
