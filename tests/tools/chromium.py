"""A real browser for tests, and what it is to be shown."""

import io
import os
import shutil
import threading

import numpy as np
from PIL import Image

from tfvit.server import static
from tfvit.serving import npm
from tfvit.serving import page

AXE = npm.Package(
    name="axe-core", version="4.14.1",
    integrity="sha512-FHfa+lmNjQZfJz1q8wKqIDwC6DExcHt/pkjNQb09a3NPjCKg2rhu5qb2"
    "S4r76ASyFNNtuFooJpZe37OgudVGtQ==")
PACKAGES = (page.CORE, page.UTILS, AXE)
PATIENCE = 900  # Seconds: a busy machine takes a hundred times as long.
_STARTS = 3
_FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-dev-shm-usage",
    "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream",
    # WebGPU, on the processor.
    "--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader",
    "--window-size=1280,900")


def missing():
    """Why there is no browser to test with, or ""."""
    try:
        import selenium  # noqa: F401
    except ImportError:
        return "selenium is not installed"
    for program in ("chromium", "chromedriver"):
        if not shutil.which(program):
            return f"there is no {program} (apt install chromium-driver)"
    try:
        for package in PACKAGES:
            package.fetch()
    except ConnectionError as error:
        return str(error)
    return ""


def start():
    """A selenium driver that keeps a log of all requests."""
    from selenium.common import exceptions
    for i in range(_STARTS):
        try:
            return _start()
        except exceptions.WebDriverException:  # It gives Chromium a minute.
            if i == _STARTS - 1:
                raise


def _start():
    from selenium import webdriver
    from selenium.webdriver.chrome import service
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for flag in _FLAGS:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL",
                                                 "browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=service.Service(
        shutil.which("chromedriver")))
    driver.command_executor.client_config.timeout = PATIENCE
    driver.set_script_timeout(PATIENCE)
    driver.set_page_load_timeout(PATIENCE)
    return driver


def serve(folder):
    """A static.Server of a folder that runs, and its address."""
    server = static.Server(str(folder), host="127.0.0.1", port=0)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server, f"http://127.0.0.1:{server.server_address[1]}/"


def files():
    """{name: bytes} of images of all kinds, 61 x 47 pixels."""
    rng = np.random.default_rng(5)
    y, x = np.mgrid[:47, :61]
    waves = np.stack([127 + 90 * np.sin(x / 11 + y / 17),
                      127 + 90 * np.cos(x / 7), 127 + 90 * np.sin(y / 9 - x / 21)],
                     -1) + rng.normal(0, 12, [47, 61, 3])
    pixels = np.clip(waves, 0, 255).astype(np.uint8)
    pixels[10:30, 20:40] = (220, 30, 30)
    alpha = np.dstack([pixels, (x * 4).astype(np.uint8)])
    found = {}

    def add(name, image, kind, **settings):
        file = io.BytesIO()
        image.save(file, kind, **settings)
        found[name] = file.getvalue()

    colour, clear = Image.fromarray(pixels), Image.fromarray(alpha)
    add("plain.png", colour, "PNG")
    add("plain.jpg", colour, "JPEG", quality=90)
    add("half.jpg", colour, "JPEG", quality=60, subsampling=1)
    add("full.jpg", colour, "JPEG", quality=40, subsampling=0)
    add("progressive.jpg", colour, "JPEG", quality=80, progressive=True)
    add("restarts.jpg", colour, "JPEG", restart_marker_blocks=2)
    add("odd.jpg", colour.crop((0, 0, 33, 17)), "JPEG", quality=5)
    add("grey.jpg", colour.convert("L"), "JPEG")
    add("grey.png", colour.convert("L"), "PNG")
    add("alpha.png", clear, "PNG")
    add("alpha.webp", clear, "WEBP", lossless=True, exact=True)
    add("palette.png", colour.convert("P"), "PNG", transparency=7)
    add("deep.png", Image.fromarray(pixels[..., 0].astype(np.uint16) * 251),
        "PNG")
    add("plain.gif", colour.convert("P"), "GIF")
    add("plain.bmp", colour, "BMP")
    for kind, name in (("JPEG", "jpg"), ("PNG", "png"), ("WEBP", "webp")):
        for way in (3, 5, 6, 8):
            exif = Image.Exif()
            exif[0x0112] = way
            settings = {"lossless": True} if kind == "WEBP" else {}
            add(f"turned{way}.{name}", colour, kind, exif=exif, **settings)
    return found


def screenshot(driver, name, folder):
    """Saves what is seen, in $TFVIT_SCREENSHOTS where that is set."""
    path = os.path.join(os.environ.get("TFVIT_SCREENSHOTS") or folder, name)
    assert driver.save_screenshot(str(path))
    shown = np.asarray(Image.open(path).convert("L"))
    assert shown.std() > 5
    return shown


