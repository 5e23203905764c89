"""The page in a real Chromium, driven as a person does, with the keyboard wherever possible."""

import shutil
import threading

import pytest
from fake_inferencer import KNIFE, ONION, SCRIPT, FakeInferencer, make_inferencer, record_of

from reloclnet_mm.serving.app import create_app
from reloclnet_mm.serving.server import address_of, listen, make_server

webdriver = pytest.importorskip('selenium.webdriver', reason='selenium is not installed')
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.ui import WebDriverWait  # noqa: E402

CHROMIUM, DRIVER = shutil.which('chromium'), shutil.which('chromedriver')
pytestmark = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason='chromium and chromedriver are not installed'
)
FLAGS = (
    '--headless=new',
    '--no-sandbox',
    '--disable-gpu',
    '--disable-quic',
    '--no-first-run',
    '--disable-background-networking',
    '--disable-component-update',
    '--disable-sync',
    '--mute-audio',
)


@pytest.fixture(scope='module')
def browser(tmp_path_factory):
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f'--user-data-dir={tmp_path_factory.mktemp("profile")}'):
        options.add_argument(flag)
    options.set_capability('goog:loggingPrefs', dict(browser='ALL'))
    with pytest.MonkeyPatch.context() as patch:
        # Requests to the driver must not take a way around.
        patch.setenv('NO_PROXY', 'localhost,127.0.0.1')
        driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
        yield driver
        driver.quit()


@pytest.fixture
def serve():
    """Serves an inferencer at a free port and returns the address."""
    running = []

    def start(inferencer, **settings):
        listener = listen('127.0.0.1', 0)
        server = make_server(create_app(inferencer, **settings))
        thread = threading.Thread(target=server.run, kwargs=dict(sockets=[listener]))
        thread.start()
        running.append((server, thread, listener))
        return address_of(listener)

    yield start
    for server, thread, listener in running:
        server.should_exit = True
        thread.join()
        listener.close()


class Page:
    """What a test sees of the page and does to it."""

    def __init__(self, driver, address, width=1280):
        self.driver = driver
        self.address = address
        driver.execute_cdp_cmd(
            'Emulation.setDeviceMetricsOverride',
            dict(width=width, height=900, deviceScaleFactor=1, mobile=width < 600),
        )
        self.open()

    def open(self, path=''):
        self.driver.get_log('browser')
        self.driver.get(self.address + path)
        self.until('document.getElementById("collection").textContent')

    def ask(self, expression):
        return self.driver.execute_script(f'return {expression}')

    def until(self, expression, seconds=10):
        wait = WebDriverWait(self.driver, seconds, poll_frequency=0.02)
        return wait.until(lambda _: self.ask(expression), expression)

    def press(self, *keys):
        self.driver.switch_to.active_element.send_keys(*keys)

    def tab_to(self, selector):
        """Press Tab until the element has the focus, as often as there are things to focus."""
        for _ in range(15):
            self.press(Keys.TAB)
            if self.ask(f'document.activeElement.matches({selector!r})'):
                return
        raise AssertionError(f'Tab does not reach {selector}')

    def search(self, query):
        self.press(query, Keys.ENTER)
        self.wait_for_answer()

    def wait_for_answer(self):
        self.until('document.getElementById("hits").getAttribute("aria-busy") === "false"')

    def texts(self, selector):
        return self.ask(f'[...document.querySelectorAll({selector!r})].map((x) => x.textContent)')

    def text(self, name):
        return self.ask(f'document.getElementById({name!r}).textContent')

    def errors(self):
        """What the browser noted as an error since the page was opened."""
        log = self.driver.get_log('browser')
        return [entry['message'] for entry in log if entry['level'] == 'SEVERE']


@pytest.fixture
def page(browser, serve, tmp_path):
    return Page(browser, serve(make_inferencer(tmp_path)))


def test_a_moment_is_found_and_played_with_the_keyboard_only(page):
    assert page.text('collection') == '3 videos · 17 s · 4 sentences'
    # The search box has the focus from the start.
    page.search('sharpen a knife')
    assert page.texts('.hit .name') == ['knives', f'onions {SCRIPT}']
    assert page.texts('.hit .score') == ['75 %', '25 %']
    assert page.texts('.hit .time') == ['0:01 – 0:03', '0:00 – 0:03']
    assert page.texts('.hit .text') == [KNIFE.text, ONION.text]
    assert page.text('status').startswith('2 moments in ')
    page.until('document.querySelector(".hit img").naturalWidth > 0')

    page.tab_to('.hit .picture')
    label = page.ask('document.activeElement.getAttribute("aria-label")')
    assert label == f'Play knives, 0:01 – 0:03, score 75 %. {KNIFE.text}'
    page.press(Keys.ENTER)
    source = page.until('document.querySelector("video").currentSrc')
    assert source == f'{page.address}videos/0/media#t=1.00,3.00'
    assert page.ask('document.activeElement.tagName') == 'VIDEO'
    page.until('document.querySelector("video").currentTime > 1.2')
    # The browser stops where the moment ends.
    page.until('document.querySelector("video").paused')
    assert page.ask('document.querySelector("video").currentTime') == pytest.approx(3, abs=0.3)
    page.press(Keys.ESCAPE)
    assert page.ask('document.querySelector("video")') is None
    assert page.ask('document.activeElement.className') == 'picture'
    page.press('/')
    assert page.ask('document.activeElement.id') == 'query'
    assert page.errors() == []


def test_the_focus_can_be_seen(page):
    page.search('stone')
    for selector in ('.hit .picture', 'footer a'):
        page.tab_to(selector)
        style = page.ask('getComputedStyle(document.activeElement).outline')
        assert 'solid 3px' in style or '3px' in style


def test_names_and_texts_with_scripts_are_text(page):
    page.search('onion')
    assert page.texts('.hit .name') == [f'onions {SCRIPT}']
    assert page.texts('.hit .text') == [ONION.text]
    page.press(Keys.TAB)
    page.tab_to('.hit .picture')
    page.press(Keys.ENTER)
    page.until('document.querySelector(".said li")')
    assert page.texts('.said li span:last-child') == [ONION.text]
    assert page.driver.title == 'onion – Find a moment'
    assert page.ask('document.scripts.length') == 1


def test_chosen_videos_restrict_the_search(page):
    page.search('stone')
    assert sorted(page.texts('.hit .name')) == ['knives', 'knives', 'talk']
    page.tab_to('summary')
    page.press(Keys.ENTER)
    page.tab_to('#filter-text')
    page.press('TAL')
    shown = '[...document.querySelectorAll("#filter-list label:not([hidden])")]'
    assert page.ask(f'{shown}.map((x) => x.children[1].textContent)') == ['talk']
    page.tab_to('#filter-list input')
    page.press(Keys.SPACE)
    page.until('document.querySelectorAll(".hit").length === 1')
    assert page.texts('.hit .name') == ['talk']
    assert page.text('filter-state') == 'talk'
    assert page.driver.current_url == f'{page.address}?q=stone&video=2'
    page.driver.back()
    page.until('document.querySelectorAll(".hit").length === 3')
    assert page.text('filter-state') == 'all videos'


def test_an_address_with_a_query_runs_it(page):
    page.open('?q=stone&video=2&video=99')
    page.until('document.querySelector(".hit")')
    assert page.ask('document.getElementById("query").value') == 'stone'
    assert page.texts('.hit .name') == ['talk']


def test_a_video_of_text_alone_is_read_and_not_played(page):
    page.open('?q=stone&video=2')
    page.until('document.querySelector(".hit")')
    assert page.ask('document.querySelector(".picture").matches(".empty.silent")')
    assert page.ask('document.querySelector(".hit img").getAttribute("src")') is None
    page.tab_to('.hit .picture')
    page.press(Keys.ENTER)
    page.until('document.querySelector(".said li.within")')
    told = 'There is only the text of this video in the index, nothing to play.'
    assert page.texts('.player-problem') == [told]
    assert page.ask('document.querySelector("video")') is None


def test_the_timeline_marks_where_the_moment_begins_and_ends(page):
    page.search('sharpen')
    page.until('!document.querySelector(".timeline").hidden')
    label = page.ask('document.querySelector(".timeline svg").getAttribute("aria-label")')
    # Clips of half a second: the third begins at 1 s, the sixth ends at 3 s.
    assert label == 'Most probable begin 0:01 (60 %), most probable end 0:03 (70 %)'
    moment = page.ask('document.querySelector(".moment").getBoundingClientRect().toJSON()')
    whole = page.ask('document.querySelector(".timeline svg").getBoundingClientRect().toJSON()')
    # From 1 s to 3 s of 6 s.
    assert moment['left'] - whole['left'] == pytest.approx(whole['width'] / 6, abs=1)
    assert moment['width'] == pytest.approx(whole['width'] / 3, abs=1)
    assert page.texts('.from') + page.texts('.to') == ['0:00', '0:06']


def test_what_is_said_plays_from_there(page):
    page.search('sharpen')
    page.tab_to('.hit .picture')
    page.press(Keys.ENTER)
    page.until('document.querySelectorAll(".said li").length === 2')
    assert page.texts('.said .within .when') == ['0:01']
    page.driver.execute_script('document.querySelectorAll(".said button")[1].focus()')
    page.press(Keys.ENTER)
    page.until('document.querySelector("video").currentTime >= 3')


def test_an_empty_query_is_told(page):
    page.press('  ', Keys.ENTER)
    message = 'Write a sentence first: what happens, or what is said.'
    page.until('!document.getElementById("notice").hidden')
    assert page.text('notice') == message
    assert page.ask('document.activeElement.id') == 'query'


def test_a_query_that_finds_nothing_is_told(page):
    page.search('zebra')
    page.until('document.getElementById("status").textContent === "No moment found."')
    assert page.texts('.hit') == []


def test_that_nothing_is_relevant_is_told(browser, serve, tmp_path):
    inferencer = make_inferencer(tmp_path)
    inferencer.null_rate = 0.22
    page = Page(browser, serve(inferencer))
    page.search('stone')
    page.until('!document.getElementById("notice").hidden')
    told = 'Perhaps nothing relevant: 22 % of queries about other things find as good a video here.'
    assert page.text('notice') == told


def test_what_the_server_refuses_is_told(browser, serve, tmp_path):
    page = Page(browser, serve(make_inferencer(tmp_path), max_characters=5))
    page.search('onion')
    page.until('document.querySelector(".hit")')
    page.press('s', Keys.ENTER)
    page.until('!document.getElementById("notice").hidden')
    assert page.text('notice') == 'q: String should have at most 5 characters'
    assert page.texts('.hit') == []


def test_a_search_that_runs_is_shown(browser, serve, tmp_path):
    inferencer = make_inferencer(tmp_path)
    inferencer.delay = 0.5
    page = Page(browser, serve(inferencer))
    page.press('stone', Keys.ENTER)
    page.until('document.querySelector("#status.busy")')
    assert page.text('status') == 'Searching …'
    page.until('document.querySelector(".hit")')
    assert not page.ask('document.querySelector("#status.busy")')


def test_a_file_that_is_gone_is_told_where_it_would_play(page, tmp_path):
    (tmp_path / '0.mp4').unlink()
    page.search('sharpen')
    page.until('document.querySelector(".picture.empty")')
    page.tab_to('.hit .picture')
    page.press(Keys.ENTER)
    page.until('!document.querySelector(".player-problem").hidden')
    told = 'the file of knives is gone (No such file or directory); put it back'
    assert page.texts('.player-problem') == [told]


@pytest.mark.parametrize('width', [1280, 390])
def test_nothing_is_wider_than_the_window(browser, serve, tmp_path, width):
    page = Page(browser, serve(make_inferencer(tmp_path)), width)
    page.search('stone onion knife')
    page.until('document.querySelectorAll(".timeline:not([hidden])").length === 4')
    page.tab_to('summary')
    page.press(Keys.ENTER)
    page.tab_to('.hit .picture')
    page.press(Keys.ENTER)
    page.until('document.querySelector(".said li")')
    for path in (None, 'docs'):
        if path is not None:
            page.driver.get(page.address + path)
            page.until('document.querySelector("#answers section")')
        shown = page.ask('document.documentElement.clientWidth')
        # A scroll bar takes at most 20 pixels.
        assert width - 20 <= shown <= width
        assert page.ask('document.documentElement.scrollWidth') == shown


def test_a_thousand_videos_are_one_stop_of_the_tab_key(browser, serve, tmp_path):
    path = tmp_path / 'one.srt'
    path.write_text('')
    names = [f'video {number:03}' for number in range(1000)]
    records = [record_of(i, name, path, 5.0, False, 0) for i, name in enumerate(names)]
    page = Page(browser, serve(FakeInferencer(records, {name: [KNIFE] for name in names})))
    page.tab_to('summary')
    page.press(Keys.ENTER)
    page.tab_to('#filter-list input')
    page.press(Keys.ARROW_DOWN, Keys.SPACE)
    page.press(Keys.END)
    page.press(Keys.SPACE)
    assert page.text('filter-state') == '2 videos'
    chosen = '[...document.querySelectorAll("#filter-list :checked")].map((x) => x.value)'
    assert page.ask(chosen) == ['1', '999']
    page.press(Keys.TAB)
    assert page.ask('document.activeElement.matches("footer a")')


def test_the_interface_for_programs_is_described(page):
    page.driver.get(f'{page.address}docs')
    page.until('document.querySelectorAll("#answers section").length')
    assert 'GET /api/search' in page.texts('#requests code')
    assert 'SearchAnswer' in page.texts('#answers code')
    assert page.errors() == []
