"""How much the drawing page fetches at a first and at further visits, and how soon there is a pad to draw on.

python -m benchmarks.serving.first_load
python -m benchmarks.serving.first_load --rate 50 --round-trip 140   # a slow phone network: kB a second, milliseconds

The browser keeps a profile on disk, as a person's does: what it has fetched, and from the second visit on compiled.
"""

import argparse
import os
import shutil
import tempfile

from playwright.sync_api import BrowserContext, sync_playwright

from tests.support.page_client import running_page
from tests.support.traffic import Traffic

VISITS = 5
AFTERWARDS = 1500  # milliseconds in which what the pad does not wait for may come
# The page's own clock, which starts when the visitor has asked for it.
WATCH = """new MutationObserver((_, observer) => {
    if (!document.querySelector(".digit-pad-paper div > canvas")) return;
    window.padAfter = performance.now();
    observer.disconnect();
}).observe(document, { childList: true, subtree: true })"""


def visit(context: BrowserContext, address: str, options) -> str:
    """Open the page and return what that took, in words."""
    page = context.new_page()
    page.add_init_script(WATCH)
    session = context.new_cdp_session(page)
    traffic = Traffic(session)
    if options.rate or options.round_trip:
        rates = dict.fromkeys(("downloadThroughput", "uploadThroughput"), 1000 * options.rate or -1)
        session.send("Network.emulateNetworkConditions", {"offline": False, "latency": options.round_trip, **rates})
    page.goto(address, wait_until="commit")
    page.wait_for_function("window.padAfter", timeout=120_000)
    seconds = page.evaluate("padAfter") / 1000
    page.wait_for_timeout(AFTERWARDS)
    page.close()
    return f"{traffic.fetched} requests over the network, {traffic.bytes / 1000:.0f} kB, {seconds:.2f} s to the pad"


def main() -> None:
    """Visit the page several times with one browser."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=0, help="kB a second (default: unlimited)")
    parser.add_argument("--round-trip", type=float, default=0, help="milliseconds")
    options = parser.parse_args()
    path = os.environ.get("DIGITS_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    with running_page() as (_, address), sync_playwright() as playwright, tempfile.TemporaryDirectory() as profile:
        context = playwright.chromium.launch_persistent_context(profile, executable_path=path, args=["--no-sandbox"])
        for number in range(1, VISITS + 1):
            print(f"visit {number}:", visit(context, address, options))
        context.close()


if __name__ == "__main__":
    main()
