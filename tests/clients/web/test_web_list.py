"""The front end's list: thousands of conversations, and deletions that can be undone."""

from playwright.async_api import BrowserContext, expect

from tests.support import steps
from tests.support.client import Client
from tests.support.playground import in_chromium
from tests.support.seeded import seed_conversations
from tests.support.window import Window, opened

pytestmark = in_chromium
MOST_NODES = 1500


async def test_five_thousand_conversations_are_listed_in_pages_and_few_rows(window: Window, caller: Client) -> None:
    await seed_conversations(caller, 5000)
    page = window.page
    await page.reload()
    await expect(window.item("Seeded 5000")).to_be_visible()
    await expect(page.get_by_text("5,000 conversations")).to_be_visible()
    # A change that the subscription tells of comes behind all that it tells of at first.
    created = await steps.create(caller, title="The newest")
    await expect(window.item("The newest")).to_be_visible()
    await expect(page.get_by_text("5,001 conversations")).to_be_visible()
    assert await page.locator("*").count() < MOST_NODES

    # Each page is loaded when its place comes into view.
    places = page.get_by_role("navigation").get_by_role("listitem")
    for number in range(4):
        await page.get_by_role("navigation").evaluate("box => box.scrollTo(0, box.scrollHeight)")
        await expect(page.locator(f'[aria-posinset="{50 * (number + 1) + 1}"]')).to_be_attached()
    assert await places.count() < 100
    assert await page.locator("*").count() < MOST_NODES

    await page.get_by_role("navigation").evaluate("box => box.scrollTo(0, 0)")
    await caller.execute(
        "mutation ($id: ID!) { deleteConversation(input: { id: $id }) { deletedConversationId } }", id=created["id"]
    )
    await expect(window.item("The newest")).to_have_count(0)
    await page.get_by_label("Search titles").fill("seeded 77")
    await expect(page.get_by_text("11 conversations", exact=True)).to_be_visible()
    assert window.faults == []


async def test_each_deletion_has_its_own_undo(window: Window, caller: Client) -> None:
    for title in ("One", "Two", "Three"):
        await steps.create(caller, title=title)
    page = window.page
    # A deletion is sent when its time is over: here it never is, until the page says so.
    await page.clock.install()
    for title in ("One", "Two"):
        await window.item(title).click()
        await page.get_by_role("button", name="Delete").click()
        await expect(window.item(title)).to_have_count(0)
    await page.get_by_role("status").filter(has_text="“One” is deleted.").get_by_role("button", name="Undo").click()
    await expect(window.item("One")).to_be_visible()
    await page.get_by_role("status").filter(has_text="“Two” is deleted.").get_by_role("button", name="Undo").click()
    await expect(window.item("Two")).to_be_visible()
    await window.item("Three").click()
    await page.get_by_role("button", name="Delete").click()
    await page.clock.fast_forward(6000)
    await expect(page.get_by_role("status")).to_have_count(0)
    await expect(window.item("Three")).to_have_count(0)
    await page.reload()
    await expect(window.item("One")).to_be_visible()
    await expect(window.item("Two")).to_be_visible()
    await expect(window.item("Three")).to_have_count(0)
    assert window.faults == []


async def test_an_address_that_names_nothing_says_so(browser: BrowserContext, window: Window) -> None:
    page = (await opened(browser, window.url)).page
    for address in ("#/c/%E0%A4%A", "#/c/nothing", "#/elsewhere"):
        await page.goto(f"{window.url}/app{address}")
        await expect(page.get_by_text("This conversation does not exist.")).to_be_visible()
        await page.get_by_role("button", name="Back", exact=True).click()
        await expect(page.get_by_text("Choose a conversation, or begin a new one.")).to_be_visible()
