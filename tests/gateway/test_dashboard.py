"""The dashboard: nobody without its password, nothing secret on it, and a real browser clicks through it."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
from limits import parse

from honeyguard.errors import ParameterError
from honeyguard.gateway import dashboard, ledger
from honeyguard.gateway.config import Config, Policy
from honeyguard.gateway.dashboard import Sessions
from tests.gateway.serving import IMAGES, Running, guarded, running
from tests.gateway.test_policy import step_of, thresholds, until  # noqa: F401 - a fixture

WORD = "correct horse battery"
CHROMIUM = Path("/usr/bin/chromium")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory, thresholds: Path) -> Iterator[Running]:  # noqa: F811
    """A gateway with a customer, a thief who raised an alarm, and a client with a budget."""
    root = tmp_path_factory.mktemp("dashboard")
    config = Config(state=str(root / "state"), model="digits", policy=Policy(thresholds=str(thresholds), ladder=("log", "slow"), share=1.0))
    with running(guarded(root / "guarded"), config, name="customer", password=WORD) as found:
        thief = found.client("thief", budget=1000)
        ask(found, IMAGES[:5])
        ask(found, np.repeat(IMAGES[:1], 120, 0), thief)
        until(lambda: step_of(found, thief) == 1 and ledger.verify(found.gateway.engine).images == 125)
        yield found


def ask(up: Running, images: Any, key: str | None = None) -> None:
    inputs = {"name": "images", "datatype": "FP32", "shape": list(images.shape), "data": images.ravel().tolist()}
    assert up.send("POST", "/v2/models/digits/infer", key, json={"inputs": [inputs]}).status_code == 200


@pytest.fixture
def browser(up: Running, monkeypatch: pytest.MonkeyPatch) -> Iterator[httpx2.Client]:
    """An HTTP client that keeps cookies; nobody has tried to log in yet."""
    monkeypatch.setattr(dashboard, "ATTEMPTS", parse("1000/minute"))
    with httpx2.Client(base_url=up.url) as client:
        yield client


def test_only_the_password_opens_it(up: Running, browser: httpx2.Client) -> None:
    for path in ("/dashboard", f"/dashboard/clients/{up.key[3:15]}", "/dashboard/clients/nobody"):
        response = browser.get(path, headers={"X-API-Key": up.key})
        assert (response.status_code, response.headers["location"]) == (303, "/dashboard/login")
    for wrong in ("", "wrong", WORD[:-1], up.key):
        response = browser.post("/dashboard/login", data={"password": wrong})
        assert response.status_code == 401
        assert not response.cookies
    response = browser.post("/dashboard/login", data={"password": WORD})
    assert (response.status_code, response.headers["location"]) == (303, "/dashboard")
    cookie = response.headers["set-cookie"]
    assert all(part in cookie for part in ("HttpOnly", "SameSite=strict", "Path=/dashboard", "Max-Age=28800"))
    page = browser.get("/dashboard")
    assert page.status_code == 200
    assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
    assert page.headers["cache-control"] == "no-store"
    assert browser.get("/dashboard/clients/nobody").status_code == 404
    browser.post("/dashboard/logout")
    assert browser.get("/dashboard").status_code == 303


@pytest.mark.parametrize("cookie", ["", "x", "9999999999", "9999999999.", "9999999999." + "0" * 64, ".", "é.é"])
def test_forged_sessions_open_nothing(cookie: str) -> None:
    sessions = Sessions(WORD, bytes(32))
    assert not sessions.open(cookie)
    assert sessions.open(sessions.start())
    assert not Sessions("another long password", bytes(32)).open(sessions.start())
    assert not Sessions(WORD, bytes([1] * 32)).open(sessions.start())


def test_a_session_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    sessions = Sessions(WORD, bytes(32))
    cookie, now = sessions.start(), time.time()
    monkeypatch.setattr(time, "time", lambda: now + 8 * 3600 + 1)
    assert not sessions.open(cookie)


def test_guessing_is_slowed_and_short_passwords_are_refused(up: Running) -> None:
    with httpx2.Client(base_url=up.url) as client:
        statuses = [client.post("/dashboard/login", data={"password": f"guess {i}"}).status_code for i in range(12)]
        assert statuses == [401] * 10 + [429] * 2
        assert client.post("/dashboard/login", content=b"x" * 5000).status_code == 413
    with pytest.raises(ParameterError, match="at least 12 characters; got 5"):
        Sessions("short", bytes(32))


def test_the_page_shows_who_and_why_and_no_secret(up: Running, browser: httpx2.Client) -> None:
    browser.post("/dashboard/login", data={"password": WORD})
    page = browser.get("/dashboard").text
    thief = browser.get(page.split('href="/dashboard/clients/')[1].join(["/dashboard/clients/", ""]).split('"')[0]).text
    for said in ("digits", "thief", "customer", "prada", "125", "1,000", ledger.verify(up.gateway.engine).head):
        assert said in page
    assert page.index(">thief<") < page.index(">customer<")
    assert "prada 1" in thief
    secret = (up.state / "secret").read_text().strip()
    for text in (page, thief):
        assert up.key[16:] not in text
        assert secret not in text
        assert WORD not in text


def test_metrics_need_the_password(up: Running, browser: httpx2.Client) -> None:
    for headers in ({}, {"Authorization": f"Bearer {up.key}"}, {"Authorization": f"Basic {WORD}"}, {"X-API-Key": up.key}):
        assert browser.get("/metrics", headers=headers).status_code == 401
    page = browser.get("/metrics", headers={"Authorization": f"Bearer {WORD}"})
    assert page.status_code == 200
    assert 'honeyguard_requests_total{status="200"} 2.0' in page.text
    assert "honeyguard_images_total 125.0" in page.text
    assert 'honeyguard_alarms_total{detector="prada"} 1.0' in page.text


@pytest.mark.skipif(not CHROMIUM.exists(), reason=f"no chromium at {CHROMIUM}")
def test_a_browser_clicks_through(up: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install honeyguard[dev]")
    monkeypatch.setattr(dashboard, "ATTEMPTS", parse("1000/minute"))
    noise: list[str] = []
    with sync_api.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=str(CHROMIUM), args=list(FLAGS))
        tab = running.new_page(viewport={"width": 390, "height": 844})
        tab.on("console", lambda message: noise.append(message.text))
        tab.on("pageerror", lambda error: noise.append(str(error)))
        tab.on("request", lambda request: None if request.url.startswith((up.url, "data:")) else noise.append(request.url))
        tab.goto(f"{up.url}/dashboard")
        tab.get_by_label("Password").fill("wrong password")
        tab.get_by_role("button", name="Log in").click()
        assert tab.get_by_role("alert").inner_text() == "That is not the password."
        assert [text for text in noise if "401" not in text] == []
        noise.clear()
        tab.get_by_label("Password").fill(WORD)
        tab.get_by_role("button", name="Log in").click()
        before = int(tab.locator("#spent").inner_text().replace(",", ""))
        ask(up, IMAGES[:7])
        sync_api.expect(tab.locator("#spent")).to_have_text(f"{before + 7:,}", timeout=10_000)
        assert tab.evaluate("document.documentElement.scrollWidth") == 390
        assert tab.evaluate("[...document.querySelectorAll('svg rect')].some(r => r.getBoundingClientRect().height > 10)")
        assert tab.locator("#events tr").nth(1).inner_text().split("\t")[1] == "step"
        tab.get_by_role("link", name="thief").click()
        assert tab.locator("#entries").inner_text().count("prada") >= 2
        tab.get_by_role("link", name="Clients").click()
        tab.locator("#clients").wait_for()
        tab.get_by_role("button", name="Log out").click()
        tab.goto(f"{up.url}/dashboard")
        assert tab.url == f"{up.url}/dashboard/login"
        running.close()
    assert noise == []
