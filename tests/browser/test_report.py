"""The report of a finished experiment as a reader meets it: in Chromium, wide and narrow.

REPORT names the report (make test-browser makes it first). With SCREENSHOTS, a folder, what was
opened is left there to look at.
"""

import base64
import gzip
import json
import os
import re
from pathlib import Path
from urllib.parse import unquote_to_bytes

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from compare import compare
from underspec.report.pages import write_page

pytestmark = pytest.mark.browser

REPORT = Path(os.environ.get("REPORT", "reports/miniature.html")).absolute()
SIZES = {"wide": (1400, 900), "narrow": (390, 844)}
MEGABYTES = 15
SMALLEST_TEXT = """
    const sizes = [...document.body.querySelectorAll('*')]
      .filter(e => e.getClientRects().length && !['SCRIPT', 'STYLE', 'OPTION'].includes(e.tagName))
      .filter(e => [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim()))
      .map(e => parseFloat(getComputedStyle(e).fontSize));
    return Math.min(...sizes)"""


@pytest.fixture(params=SIZES)
def size(request):
    return request.param


@pytest.fixture
def browser(size):
    assert REPORT.is_file(), f"{REPORT}: no such report; run: make test-browser"
    options = webdriver.ChromeOptions()
    for argument in ("headless=new", "no-sandbox", "disable-gpu", "disable-dev-shm-usage"):
        options.add_argument(f"--{argument}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    service = Service(os.environ.get("CHROMEDRIVER", "/usr/bin/chromedriver"))
    driver = webdriver.Chrome(options=options, service=service)
    driver.shown = size
    width, height = SIZES[size]
    driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False},
    )
    yield driver
    check_quiet(driver)
    driver.quit()


def check_quiet(driver):
    """Nothing on the console is an error, and nothing was asked of anybody but this file."""
    assert [entry for entry in driver.get_log("browser") if entry["level"] == "SEVERE"] == []
    messages = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    urls = [
        message["params"]["request"]["url"]
        for message in messages
        if message["method"] == "Network.requestWillBeSent"
    ]
    assert urls
    assert [url for url in urls if not url.startswith(("file://", "data:", "blob:"))] == []


def screenshot(driver, name):
    if folder := os.environ.get("SCREENSHOTS"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        driver.save_screenshot(f"{folder}/{driver.shown} {name}.png".replace(" ", "-"))


def until(driver, condition):
    return WebDriverWait(driver, 20).until(condition)


def click(driver, element):
    driver.execute_script("arguments[0].click()", element)


def open_report(driver):
    driver.get(REPORT.as_uri())
    until(driver, lambda _: driver.find_elements(By.CSS_SELECTOR, "nav li a"))


def choose(driver, selector, text):
    """Click the element that says `text`, once there is one."""
    found = until(
        driver,
        lambda _: [
            element
            for element in driver.find_elements(By.CSS_SELECTOR, selector)
            if element.text.strip() == text
        ],
    )
    click(driver, found[0])


def open_category(driver, category):
    if breadcrumb := driver.find_elements(By.XPATH, "//nav//ol//a[text()='Results']"):
        click(driver, breadcrumb[0])
    choose(driver, "nav ul a", category)


def open_item(driver, title):
    """Click the eye in the row of an item, and go into the frame if it is a page."""
    row = until(driver, lambda _: driver.find_element(By.XPATH, f'//tr[td[text()="{title}"]]'))
    click(driver, row.find_element(By.CSS_SELECTOR, "a[iconname=eye]"))


def items(driver):
    """Category, labels and kind of every item, as the report itself lists them."""
    return driver.execute_script(
        """return Object.entries(categories).flatMap(([category, parts]) =>
          Object.values(parts).flat().map(path => [category, path, results[path].labels.item,
            results[path].mime_type]))"""
    )


def pages(driver):
    """The HTML of every page of the report, by its path."""
    uris = driver.execute_script(
        """return Object.fromEntries(Object.entries(results)
          .filter(([, result]) => result.mime_type === 'text/html')
          .map(([path, result]) => [path, result.data_uri]))"""
    )
    return {path: decoded(uri) for path, uri in uris.items()}


def decoded(uri):
    head, _, body = uri.partition(",")
    return base64.b64decode(body) if head.endswith("base64") else unquote_to_bytes(body)


def overflowing(driver):
    """By how many pixels the page is wider than the window."""
    return driver.execute_script(
        "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
    )


def test_the_report_is_small_enough_to_send():
    assert REPORT.stat().st_size <= MEGABYTES * 1e6


def test_the_first_page_begins_at_its_top(browser):
    open_report(browser)
    title = until(browser, lambda _: browser.find_element(By.CSS_SELECTOR, ".prose h1"))
    assert title.rect["y"] >= 0
    screenshot(browser, "first page")
    for entry in ("Statistics", "About", "Workflow"):
        choose(browser, "nav ul a", entry)
        if entry == "About":
            click(browser, browser.find_element(By.CSS_SELECTOR, "nav ol a"))


def test_the_first_page_has_the_verdicts_and_the_main_figure(browser):
    open_report(browser)
    counts = until(
        browser, lambda _: browser.find_elements(By.CSS_SELECTOR, ".opening .verdicts b")
    )
    # In this world some claims are chosen by the recipe: a fourth count beside the verdicts.
    assert [count.text.isdigit() for count in counts] == [True] * 4
    assert counts[0].rect["y"] < browser.execute_script("return innerHeight")
    image = browser.find_element(By.CSS_SELECTOR, ".opening img")
    until(browser, lambda _: image.get_property("naturalWidth") > 0)
    assert "Trained on: " in browser.find_element(By.CSS_SELECTOR, ".opening").text
    graph = until(
        browser, lambda _: browser.find_element(By.CSS_SELECTOR, "#rulegraph svg, canvas")
    )
    text = browser.find_element(By.CSS_SELECTOR, ".prose").rect
    assert graph.rect["y"] >= text["y"] + text["height"]
    content = browser.find_element(By.CSS_SELECTOR, "#app .grow.h-screen")
    assert content.get_property("scrollWidth") <= content.get_property("clientWidth")


def test_the_first_page_leads_to_the_overview(browser):
    open_report(browser)
    shown = [count.text for count in browser.find_elements(By.CSS_SELECTOR, ".opening .verdicts b")]
    browser.find_element(By.CSS_SELECTOR, ".opening a").click()
    frame = until(browser, lambda _: browser.find_element(By.TAG_NAME, "iframe"))
    browser.switch_to.frame(frame)
    counts = until(browser, lambda _: browser.find_elements(By.CSS_SELECTOR, ".verdicts b"))
    assert shown == [count.text for count in counts]
    browser.switch_to.default_content()


def test_every_item_opens(browser):
    open_report(browser)
    listed = items(browser)
    assert [category for category, *_ in listed if category == "0 Overview"]
    for category, path, title, mime in listed:
        open_category(browser, category)
        open_item(browser, title)
        if mime == "text/html":
            until(browser, lambda _: browser.find_elements(By.TAG_NAME, "iframe"))
            browser.switch_to.frame(browser.find_element(By.TAG_NAME, "iframe"))
            until(browser, lambda _: browser.find_elements(By.TAG_NAME, "h1"))
            assert len(browser.find_element(By.TAG_NAME, "body").text) > 100
            browser.switch_to.default_content()
        else:
            image = until(browser, lambda _: browser.find_element(By.CSS_SELECTOR, ".p-3 > img"))
            until(browser, lambda _, image=image: image.get_property("naturalWidth") > 0)
        screenshot(browser, f"item {Path(path).name}")
        click(browser, browser.find_element(By.CSS_SELECTOR, "td a[iconname='information-circle']"))
        assert "Look for" in until(
            browser, lambda _: browser.find_element(By.CSS_SELECTOR, "nav .prose")
        ).get_property("textContent")


def test_pages_are_legible_and_fit(browser, tmp_path):
    open_report(browser)
    for path, html in pages(browser).items():
        file = tmp_path / Path(path).name
        file.write_bytes(html)
        browser.get(file.as_uri())
        until(browser, lambda _: not browser.find_elements(By.CSS_SELECTOR, "#list:empty"))
        for details in browser.find_elements(By.TAG_NAME, "details"):
            browser.execute_script("arguments[0].open = true", details)
        assert overflowing(browser) <= 0, path
        assert browser.execute_script(SMALLEST_TEXT) >= 11, path
        screenshot(browser, f"page {file.name}")


@pytest.fixture
def samples(browser):
    """The sample browser within the report, as its reader has it."""
    open_report(browser)
    ((category, _, title, _),) = [
        item for item in items(browser) if item[1].endswith("report/samples.html")
    ]
    open_category(browser, category)
    open_item(browser, title)
    frame = until(browser, lambda _: browser.find_element(By.TAG_NAME, "iframe"))
    browser.switch_to.frame(frame)
    until(browser, lambda _: browser.find_elements(By.CSS_SELECTOR, "#candidates tbody tr"))
    yield browser
    browser.switch_to.default_content()


def text(driver, name):
    return driver.find_element(By.ID, name).get_property("textContent")


def position(driver):
    """Which post is shown, and of how many."""
    return tuple(map(int, re.findall(r"\d+", text(driver, "position"))))


def select(driver, name, label):
    driver.execute_script(
        """const [list, label] = arguments;
        list.value = [...list.options].find(option => option.text === label).value;
        list.dispatchEvent(new Event('change'))""",
        driver.find_element(By.ID, name),
        label,
    )


def embedded(driver):
    return json.loads(gzip.decompress(base64.b64decode(text(driver, "data"))))


def test_one_goes_from_post_to_post(samples):
    _, number = position(samples)
    assert number == len(embedded(samples)["posts"])
    first = text(samples, "post")
    samples.find_element(By.ID, "next").click()  # as a hand does: keys go where it clicked
    assert position(samples) == (2, number)
    assert text(samples, "post") != first
    body = samples.find_element(By.TAG_NAME, "body")
    body.send_keys(Keys.ARROW_RIGHT)
    assert position(samples) == (3, number)
    body.send_keys(Keys.ARROW_LEFT * 3)  # once too often
    assert position(samples) == (1, number)
    assert text(samples, "post") == first
    assert text(samples, "reference") and text(samples, "policy")


def test_texts_keep_their_line_breaks(samples):
    shown = samples.find_elements(By.CSS_SELECTOR, "#post, #reference, #policy, #candidates .text")
    assert len(shown) > 3
    assert {each.value_of_css_property("white-space") for each in shown} == {"pre-wrap"}


def test_the_table_holds_what_the_rankers_pick(samples):
    data = embedded(samples)
    for scale, about in enumerate(data["scales"]):
        for n in data["ns"][1:]:
            select(samples, "scale", about["name"])
            select(samples, "n", str(n))
            name = text(samples, "name").removeprefix("Post ")
            (post,) = [post for post in data["posts"] if post["id"] == name]
            picks = post["picks"][scale][data["ns"].index(n)]
            rows = samples.find_elements(By.CSS_SELECTOR, "#candidates tbody tr")
            assert len(rows) == len(set(picks) | {0})
            boxes = samples.find_elements(By.CSS_SELECTOR, "#candidates td.picked")
            assert len(boxes) == len(about["models"])
            shown = [row.find_element(By.CSS_SELECTOR, ".text").text for row in rows]
            assert set(shown) == {" ".join(post["texts"][pick].split()) for pick in [0, *picks]}
            columns = len(rows[0].find_elements(By.TAG_NAME, "td"))
            assert columns == 1 + len(about["models"]) + len(data["judges"])


def test_newer_rankers_are_shown_with_their_probabilities(samples):
    data = embedded(samples)
    select(samples, "scale", data["scales"][-1]["name"])
    select(samples, "n", str(data["ns"][-1]))
    for row, newer in enumerate(data["newer"]):
        select(samples, "rule", newer)
        name = text(samples, "name").removeprefix("Post ")
        (post,) = [post for post in data["posts"] if post["id"] == name]
        taken = post["taken"][-1][-1][row]
        rows = samples.find_elements(By.CSS_SELECTOR, "#candidates tbody tr")
        assert len(rows) == len({0, *(candidate for candidate, *_ in taken)})  # 0: the policy's own
        chips = samples.find_elements(By.CSS_SELECTOR, "#candidates .chip")
        shown = [int(re.search(r": (\d+) %", chip.text)[1]) for chip in chips]
        expected = [share for _, *shares in taken for share in shares if share is not None]
        assert sorted(shown) == sorted(expected)
        assert newer in text(samples, "heading")
    screenshot(samples, "newer ranker")
    select(samples, "rule", "best-of-n")
    assert text(samples, "heading").startswith("Best of ")


@pytest.fixture
def rlhf(samples):
    """The embedded data of a report with aligned policies."""
    data = embedded(samples)
    if not data["kl_coefficients"]:
        pytest.skip("this experiment has no RLHF")
    return data


def shown_post(samples, data):
    name = text(samples, "name").removeprefix("Post ")
    return next(post for post in data["posts"] if post["id"] == name)


def policy_rows(samples):
    """Of each row: the chips, what else is said of the policy, the text, and the numbers."""
    return samples.execute_script(
        """return [...document.querySelectorAll("#policies tbody tr")].map(row => [
          [...row.cells[0].querySelectorAll(".chip")].map(chip => chip.textContent),
          row.cells[0].firstElementChild.lastChild.textContent,
          row.cells[0].lastElementChild.textContent,
          [...row.cells].slice(1).map(cell => cell.textContent)])"""
    )


def check_policy_rows(samples, data, scale, paths):
    post = shown_post(samples, data)
    points = post["aligned"][scale]
    texts = [each if each.strip() else "(empty text)" for each in post["texts"]]
    shown = [points[path][point] for point in range(1, len(points[0])) for path in paths]
    shown.insert(0, points[paths[0]][0])
    rows = policy_rows(samples)
    assert [len(chips) for chips, *_ in rows] == [0] + [1] * (len(rows) - 1)
    assert [row[2] for row in rows] == [texts[text] for text, *_ in shown]
    read = [[cell.replace("−", "-").lstrip("≤ ") for cell in cells] for *_, cells in rows]
    assert {len(cells) for cells in read} == {len(["KL", "own", *data["judges"]])}
    assert (read[0][1] == "–") == (len(paths) > 1)  # own reward, of which ranker?
    for cells, (_, *values) in zip(read[1:], shown[1:], strict=True):
        assert [float(cell) for cell in cells] == pytest.approx(values, abs=0.0051)
    coefficients = [float(about.split()[-1]) for _, about, *_ in rows if "KL coeff" in about]
    assert coefficients == sorted(data["kl_coefficients"] * len(paths), reverse=True)


def test_aligned_policies_are_shown_from_weak_to_strong(samples, rlhf):
    for scale, about in enumerate(rlhf["scales"]):
        select(samples, "scale", about["name"])
        table = samples.find_element(By.ID, "policies")
        assert table.is_displayed() == bool(about["aligned"])
        assert samples.find_element(By.ID, "path").is_displayed() == bool(about["aligned"])
        assert samples.find_element(By.ID, "unaligned").is_displayed() != bool(about["aligned"])
        if not about["aligned"]:
            continue
        usual, *others = samples.find_elements(By.CSS_SELECTOR, "#path option")
        kinds = [about["rankers"][index]["ensemble"] for index in about["aligned"]]
        chips = {chip for (chip, *_), *_ in policy_rows(samples)[1:]}
        assert len(chips) == len(set(kinds))
        if len(kinds) == len(set(kinds)):
            check_policy_rows(samples, rlhf, scale, list(range(len(kinds))))
        labels = [option.get_property("text") for option in others]
        for path, label in enumerate(labels):
            select(samples, "path", label)
            check_policy_rows(samples, rlhf, scale, [path])
            assert {chip for (chip, *_), *_ in policy_rows(samples)[1:]} == {label}
        select(samples, "path", usual.get_property("text"))
        samples.execute_script("document.getElementById('rlhf').scrollIntoView()")
        screenshot(samples, "after RLHF")
        assert overflowing(samples) <= 0


def test_search_finds_what_aligned_policies_write(samples, rlhf):
    def others(post):
        texts = post["texts"][: len(post["samples"])]
        return [post["id"], post["post"], post["reference"], *texts]

    wanted, post = max(
        (
            (text, post)
            for post in rlhf["posts"]
            for text in post["texts"][len(post["samples"]) :]
            if not any(text.lower() in other.lower() for other in others(post))
        ),
        key=lambda found: len(found[0]),
    )
    samples.find_element(By.ID, "search").send_keys(wanted)
    matching = [
        each
        for each in rlhf["posts"]
        if any(wanted.lower() in one.lower() for one in [*others(each), *each["texts"]])
    ]
    assert position(samples)[1] == len(matching)
    assert shown_post(samples, rlhf) in matching


def test_the_first_posts_are_those_that_part_reward_models_most(samples):
    data = embedded(samples)
    name = text(samples, "name").removeprefix("Post ")
    apart = {post["id"]: post["apart"][0][-1] for post in data["posts"]}
    assert apart[name] == max(apart.values())
    select(samples, "sort", "order in the data")
    assert text(samples, "name") == f"Post {data['posts'][0]['id']}"


def test_search_keeps_what_matches_and_marks_it(samples):
    data = embedded(samples)
    word = max(data["posts"][-1]["post"].split(), key=len)
    field = samples.find_element(By.ID, "search")
    field.send_keys(word)
    texts = [[p["id"], p["post"], p["reference"], *p["texts"]] for p in data["posts"]]
    matching = [each for each in texts if any(word.lower() in one.lower() for one in each)]
    assert position(samples) == (1, len(matching))
    screenshot(samples, "search")
    field.send_keys("no such word")
    assert text(samples, "position") == "no post matches"
    field.clear()
    field.send_keys(" ")
    assert position(samples) == (1, len(data["posts"]))


def test_few_picks_are_filtered_out(samples):
    data = embedded(samples)
    picks = [len(set(post["picks"][0][-1])) for post in data["posts"]]
    select(samples, "least", "2 or more picks")
    assert position(samples)[1] == sum(number >= 2 for number in picks)


def test_markup_in_texts_is_shown_and_not_obeyed(samples, tmp_path):
    data, markup = embedded(samples), "<img src=x onerror=alert(1)> & </script><b>a</b>"
    for post in data["posts"]:
        post |= {"id": markup, "post": markup, "reference": markup}
        post["texts"] = [f"{markup} {number}" for number in range(len(post["texts"]))]
    data["judges"] = [markup for _ in data["judges"]]
    for scale in data["scales"]:
        scale["name"] = markup
    template = Path(__file__).parents[2] / "reports/pages/samples.html"
    write_page(template, tmp_path / "samples.html", data=data, face=markup)
    samples.switch_to.default_content()
    samples.get((tmp_path / "samples.html").as_uri())
    until(samples, lambda _: text(samples, "post"))
    assert [text(samples, name) for name in ("post", "reference")] == [markup] * 2
    assert text(samples, "policy") == f"{markup} 0"
    samples.find_element(By.ID, "search").send_keys("<B>A")
    assert samples.find_element(By.TAG_NAME, "mark").text == "<b>a"
    assert samples.find_elements(By.CSS_SELECTOR, "img, article b") == []
    screenshot(samples, "markup")


def test_claims_across_experiments_are_filtered_and_counted(browser, tmp_path):
    """Two experiments of different tasks: a claim of each alignment."""
    columns = "id,kind,claim,place,ours,scale,verdict,estimate,low,high,chosen_by_recipe\n"
    of_best = "a,direction,<b>A</b>,Figure 1,False,xl,{},0.1,0.05,0.2,{}\n"
    of_rlhf = '"RLHF, b",direction,B,"the long paper, RLHF",True,xl,{},-0.1,-0.2,-0.05,False\n'
    verdicts = {"one": ("supported", "contradicted"), "two": ("contradicted", "undecided")}
    for name, (first, second) in verdicts.items():
        (tmp_path / name).mkdir()
        table = columns + of_best.format(first, False) + of_rlhf.format(second)
        (tmp_path / name / "claims.csv").write_text(table)
        config = json.dumps({"config": {"world": name, "reward": "preference"}})
        (tmp_path / name / "manifest.json").write_text(config)
    page = tmp_path / "claims.html"
    compare(claims=[tmp_path / name / "claims.csv" for name in verdicts], output=page)
    browser.get(page.as_uri())

    def counts():
        rows = browser.find_elements(By.CSS_SELECTOR, "#claims .count")
        return [row.text for row in rows if row.is_displayed()]

    def only(label, value):
        options = browser.find_elements(By.XPATH, f"//label[contains(., '{label}')]//option")
        next(option for option in options if option.text == value).click()

    first, second = "1 of 2 support, 1 contradicts", "0 of 2 support, 1 contradicts"
    assert counts() == [first, second]
    assert "<b>A</b>" in browser.find_element(By.CSS_SELECTOR, "#claims tbody th").text
    screenshot(browser, "claims across experiments")
    for label, value, shown in [
        ("paper", "the long paper", [second]),
        ("alignment", "best-of-n or none", [first]),
        ("claims", "ours", [second]),
        ("section", "Figure 1", [first]),
        (
            "task",
            "one, preference",
            ["1 of 1 support, 0 contradict", "0 of 1 support, 1 contradicts"],
        ),
        (
            "task",
            "two, preference",
            ["0 of 1 support, 1 contradicts", "0 of 1 support, 0 contradict"],
        ),
        ("verdicts", "supported here, contradicted there", [first]),
    ]:
        only(label, value)
        assert counts() == shown, (label, value)
        only(label, "all")
    assert counts() == [first, second]
    assert overflowing(browser) <= 0
