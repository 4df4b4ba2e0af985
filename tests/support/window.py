"""The front end at ``/app`` in a real browser, as somebody uses it."""

import json

from playwright.async_api import BrowserContext, ConsoleMessage, Locator, Page, Request, expect

from tests.support.playground import WAIT_MILLISECONDS
from tests.support.scripted_llm import Body, Reply, ScriptedLLM, echo

expect.set_options(timeout=WAIT_MILLISECONDS)


class Window:
    """One window, with everything that went wrong in it."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.url = url
        self.faults: list[str] = []
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.on("request", self._see)

    @property
    def status(self) -> Locator:
        """The open conversation's status."""
        return self.page.locator(".conversation > header .chip")

    @property
    def live_answer(self) -> Locator:
        """The answer that is being written."""
        return self.page.locator(".message.is-live")

    async def save_settings(self, llm: ScriptedLLM, *, must_confirm: bool = False) -> None:
        """By the dialog."""
        await self.page.get_by_role("button", name="Settings", exact=True).click()
        dialog = self.page.get_by_role("dialog", name="Settings")
        await dialog.get_by_label("Model").fill("openai/scripted")
        await dialog.get_by_label("Base URL").fill(llm.url)
        await dialog.get_by_label("API key").fill("sk-test-key-0123456789")
        await dialog.get_by_label("Ask me before").set_checked(must_confirm)
        await dialog.get_by_role("button", name="Save").click()
        await expect(dialog).to_have_count(0)

    async def create(self, text: str) -> None:
        """A conversation, by the dialog; it is open then."""
        await self.page.get_by_role("button", name="New", exact=True).click()
        dialog = self.page.get_by_role("dialog", name="New conversation")
        await dialog.get_by_label("First message").fill(text)
        await dialog.get_by_role("button", name="Create").click()
        await expect(dialog).to_have_count(0)

    async def begin(self, text: str) -> None:
        """A conversation whose log is open before the agent is asked, so that no piece of its answer is missed."""
        await expect(self.page.locator("[data-live=true]")).to_be_visible()
        await self.create("")
        await expect(self.page.get_by_text("Nothing was said yet.")).to_be_visible()
        await self.say(text)

    async def say(self, text: str) -> None:
        """A message, ended by Enter."""
        await self.page.get_by_label("Message", exact=True).fill(text)
        await self.page.keyboard.press("Enter")

    async def rename(self, title: str) -> None:
        """By a click on the title."""
        await self.page.get_by_role("heading", level=2).get_by_role("button").click()
        await self.page.get_by_label("Title", exact=True).fill(title)
        await self.page.keyboard.press("Enter")

    def message(self, text: str) -> Locator:
        """A message of somebody's."""
        return self.page.locator(".message:not(.is-live)").filter(has_text=text)

    async def said(self) -> list[str]:
        """The messages of the log, also those that are not in view."""
        return await self.page.locator(".message:not(.is-live)").evaluate_all(
            r"messages => messages.map(({ children }) => [...children].filter(it => !it.matches('.tools'))"
            r".map(it => it.textContent.trim()).join('\n'))"
        )

    def item(self, title: str) -> Locator:
        """A conversation's place in the list."""
        return self.page.get_by_role("navigation").get_by_role("button", name=title)

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.faults.append(message.text)

    def _see(self, request: Request) -> None:
        if not request.url.startswith((self.url, "data:", "blob:")):
            self.faults.append(f"foreign request: {request.url}")


def script(llm: ScriptedLLM, *replies: Reply) -> None:
    """Script the model's replies to the agent, in this order. Requests for titles are echoed."""
    remaining, echoed = list(replies), echo()

    def answer(body: Body) -> Reply:
        return remaining.pop(0) if body.get("tools") and remaining else echoed(body)

    llm.default = answer


async def opened(browser: BrowserContext, url: str) -> Window:
    """Open the page in a new window, and wait until it is there."""
    window = Window(await browser.new_page(), url)
    await window.page.goto(f"{url}/app")
    await window.page.get_by_role("heading", name="Parley").wait_for()
    return window


async def sign_in(browser: BrowserContext, token: str) -> None:
    """Give the bearer token to every window that is opened from now on."""
    # A blank page may store nothing.
    await browser.add_init_script(
        f"if (location.protocol !== 'about:') sessionStorage.setItem('parley:token', {json.dumps(token)})"
    )
