"""The page of tools/demo, as tests use it."""

import contextlib

from tests.tools import chromium

_DONE = """
const done = arguments[arguments.length - 1];
(async (...a) => { %s })(...arguments).then(
    x => done({value: x}), e => done({error: String(e?.stack ?? e)}));
"""


class Page:
    """The page in the browser."""

    def __init__(self, driver, address):
        self.driver, self.address = driver, address

    def open(self, link="#model=shapes"):
        self.driver.get("about:blank")
        self.driver.get(self.address + link)
        return self.wait()

    def here(self):
        """Any page of the site, to run what its modules have."""
        if not self.driver.current_url.startswith(self.address):
            self.driver.get(self.address + "icon.svg")
        return self

    def wait(self):
        """Until it has answered."""
        from selenium.webdriver.support import ui
        ui.WebDriverWait(self.driver, chromium.PATIENCE, 0.03).until(
            lambda d: d.execute_script(
                "return document.getElementById('main')?.getAttribute("
                "'aria-busy') === 'false' && "
                "document.getElementById('loading').hidden"))
        return self

    def js(self, text, *arguments):
        found = self.driver.execute_async_script(_DONE % text, *arguments)
        assert "error" not in found, found
        return found["value"]

    def id(self, name):
        return self.driver.find_element("id", name)

    def all(self, css):
        return self.driver.find_elements("css selector", css)

    def click(self, name):
        self.js("document.getElementById(a[0]).click()", name)
        return self.wait()

    def said(self, name="status"):
        return self.js("return document.getElementById(a[0]).innerText", name)

    def alert(self):
        return self.js("""const alert = document.getElementById('alert');
            return alert.hidden ? '' : alert.querySelector('p').innerText""")

    def answers(self):
        """{prompt or class: probability, or None}, in the order of the rows."""
        return dict(self.js("""return [...document.querySelectorAll('#rows li')]
            .map(row => [row.querySelector('input')?.value ??
                row.querySelector('span').textContent,
                row.querySelector('data').value === '' ? null :
                    Number(row.querySelector('data').value)])"""))

    def table(self):
        """(row names, values [row][picture])."""
        return self.js("""const rows = [...document.querySelectorAll(
            '#table tbody tr')]; return [
            rows.map(row => row.querySelector('th').textContent),
            rows.map(row => [...row.querySelectorAll('data')].map(
                one => Number(one.value)))]""")

    def type(self, texts):
        """Makes the prompts these."""
        self.open("#" + "&".join([
            f"model={self.js('return document.getElementById(a[0]).value', 'model')}",
            *(f"text={text}" for text in texts)] if texts else ["texts="]))

    def drop(self, *names, how="drop"):
        """Drops, or pastes, files of the site."""
        self.js("""const data = new DataTransfer();
            for (const name of a[0]) {
              const blob = await (await fetch(name)).blob();
              data.items.add(new File([blob], name, {type: blob.type}));
            }
            document.getElementById('main').setAttribute('aria-busy', 'true');
            document.body.dispatchEvent(a[1] === 'drop' ?
              new DragEvent('drop', {dataTransfer: data, bubbles: true,
                cancelable: true}) :
              new ClipboardEvent('paste', {clipboardData: data, bubbles: true,
                cancelable: true}))""", names, how)
        return self.wait()

    @contextlib.contextmanager
    def before(self, script):
        """Runs a script before all of a page's own."""
        made_id = self.driver.execute_cdp_cmd(
            "Page.addScriptToEvaluateOnNewDocument",
            {"source": script})["identifier"]
        try:
            yield
        finally:
            self.driver.execute_cdp_cmd(
                "Page.removeScriptToEvaluateOnNewDocument",
                {"identifier": made_id})

    @contextlib.contextmanager
    def uncached(self, speed=-1):
        """Files come from the server, at most `speed` bytes a second."""

        def network(disabled, limit):
            call = self.driver.execute_cdp_cmd
            call("Network.enable", {})
            call("Network.setCacheDisabled", {"cacheDisabled": disabled})
            call("Network.emulateNetworkConditions", {
                "offline": False, "latency": 0, "downloadThroughput": limit,
                "uploadThroughput": -1})

        network(True, speed)
        try:
            yield
        finally:
            network(False, -1)

    def size(self, width, height, dark=False):
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {
            "width": width, "height": height, "deviceScaleFactor": 1,
            "mobile": width < 500})
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [
            {"name": "prefers-color-scheme", "value": "dark" if dark else "light"},
            {"name": "prefers-reduced-motion", "value": "reduce"}]})
