"""The web page in a real browser."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Page, async_playwright

from tests.dashboard.harness import DFW, Harness, open_harness

pytestmark = pytest.mark.browser

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture
async def page(harness: Harness) -> AsyncIterator[Page]:
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        opened = await browser.new_page()
        opened.set_default_timeout(10_000)
        yield opened
        await browser.close()


async def test_the_page_shows_the_fleet_and_updates_live(harness: Harness, page: Page) -> None:
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text))
    harness.simulator.exchange("before")

    await page.goto(f"http://127.0.0.1:{harness.port}/")
    await page.wait_for_selector("#live.on")
    await page.wait_for_selector("details[data-id=before]")
    harness.simulator.exchange("<i>after</i>")
    await harness.simulator.stop_machine(DFW)

    newest = page.locator("details").first
    await page.wait_for_selector('details[data-id="<i>after</i>"]')
    await newest.locator("summary").click()
    assert await newest.locator("li").all_inner_texts() == [
        f"routed → ams-1 (ams): 307 100.0 ms fly-replay: instance={DFW}",
        "replay → dfw-1 (dfw): 200 100.0 ms",
        "<i>after</i>, relayed",
    ]
    await page.locator("#machines tr", has_text=DFW).get_by_text("stopped").wait_for()
    assert await page.locator("#edges a").inner_text() == "http://127.0.0.1:8080"
    assert errors == []


async def test_the_link_with_the_token_opens_the_page_of_an_opened_control_api(page: Page) -> None:
    """127.0.0.2 stands for an address in a network."""
    token = "a-token-of-this-simulator"
    async with open_harness(hosts=("127.0.0.1", "127.0.0.2"), token=token) as opened:
        opened.simulator.stuck.set()
        base = f"http://127.0.0.2:{opened.port}"
        refused = await page.goto(f"{base}/")
        assert refused is not None
        assert refused.status == 401

        await page.goto(f"{base}/?token={token}")
        assert page.url == f"{base}/"
        await page.wait_for_selector("#live.on")
        opened.simulator.exchange("after")
        await page.wait_for_selector("details[data-id=after]")
        assert await page.evaluate("fetch('/_flysim/reset', {method: 'POST'}).then((r) => r.status)") == 200
        assert await page.evaluate("document.cookie") == ""

        await page.reload()
        await page.wait_for_selector("#live.on")
