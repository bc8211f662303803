"""The page in a browser, connected directly to its machines."""

from __future__ import annotations

import shutil
import signal
from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Page, async_playwright, expect

from tests.sample_app.running import AMS, DFW, RunningFleet, running_fleet

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium"),
]


@pytest.fixture
async def page() -> AsyncIterator[Page]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield await browser.new_page()
        await browser.close()


@pytest.fixture
async def fleet() -> AsyncIterator[RunningFleet]:
    async with running_fleet(AMS, DISCOVER_EVERY_SECONDS="3600") as fleet:
        yield fleet


async def test_picture_chat_and_tabs_work_and_recover_with_their_machine(
    page: Page, fleet: RunningFleet
) -> None:
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    await page.goto(fleet[AMS].url)
    await expect(page.locator(f'[data-page-machine="{AMS}"]')).to_be_visible()
    await expect(page.locator(f'[data-socket-machine="{AMS}"]')).to_be_visible()
    await page.wait_for_function("document.querySelector('#live').dataset.frame > 1")

    await page.fill("#words", "<b>hello</b>")
    await page.press("#words", "Enter")
    await expect(page.locator("#lines li")).to_have_text("You<b>hello</b>")

    await fleet.start(DFW)
    tabs = page.locator("nav a")
    await expect(tabs).to_have_text(["Rosy OspreyAmsterdamhere", "Ochre BitternDallas"])
    await expect(tabs.nth(0)).to_have_attribute("aria-current", "page")
    await expect(tabs.nth(1)).to_have_attribute("href", f"/?instance={DFW}")
    await fleet.leave(DFW, signal.SIGINT)
    await expect(tabs).to_have_count(1)

    await fleet.leave(AMS, signal.SIGINT)
    await expect(page.locator("#status")).to_contain_text("Not connected. Retrying")
    await expect(page.locator("#words")).to_be_disabled()
    await fleet.start(AMS)
    await expect(page.locator("#status")).to_have_text("Connected.", timeout=10_000)
    await expect(page.locator("#lines li")).to_have_count(0)
    assert complaints == []


async def test_a_paused_picture_does_not_change_and_requests_no_frames(
    page: Page, fleet: RunningFleet
) -> None:
    await page.emulate_media(reduced_motion="reduce")
    await page.goto(fleet[AMS].url)
    await expect(page.locator("#live")).to_have_text("paused")
    async with fleet[AMS].client() as client:
        assert (await client.get("/stats")).json()["frames_published"] == 0
        await page.click("text=Play")
        await expect(page.locator("#live")).to_contain_text("live")
