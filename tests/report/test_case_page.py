"""``report.html``: what it says, and in headless Chromium that each organ is on its side and nothing is fetched."""

from __future__ import annotations

import io
import re
import shutil

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from oarseg.inference.report import case_page as module
from oarseg.inference.report.case_page import HU, TONES, case_page, mosaic, thinning, tone
from oarseg.inference.report.content import measure
from oarseg.inference.report.preview import lps_view
from oarseg.sites import load_site
from oarseg.sites.volumes import published_volume

SITE = load_site("head_neck")
SPACING = np.array([2.0, 1.5, 3.0])
SHAPE = (40, 50, 30)
# Voxels along left, posterior, superior: an eye in front, at the left and high up; a mandible in front and low.
EYE, MANDIBLE = (slice(26, 32), slice(6, 12), slice(20, 24)), (slice(10, 30), slice(4, 9), slice(3, 6))
PNG = io.BytesIO()
Image.new("L", (2, 2)).save(PNG, "PNG")


def phantom(axcodes: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """HU, label map and RAS affine of the same patient, stored along ``axcodes``."""
    hu, label = np.full(SHAPE, -1000, np.int16), np.zeros(SHAPE, np.uint8)
    hu[4:-4, 3:-3] = 40
    hu[MANDIBLE] = 900
    label[EYE], label[MANDIBLE] = SITE.values["eye_left"], SITE.values["mandible"]
    affine = np.diag([*SPACING * (-1, -1, 1), 1.0])
    affine[:3, 3] = (38.0, 40.0, -20.0)
    turn = nib.orientations.ornt_transform(nib.io_orientation(affine), nib.orientations.axcodes2ornt(tuple(axcodes)))
    turned = affine @ nib.orientations.inv_ornt_aff(turn, SHAPE)
    return *(nib.orientations.apply_orientation(one, turn) for one in (hu, label)), turned


def report(label: np.ndarray, affine: np.ndarray, **changed: object) -> dict:
    rows = {}
    for organ in SITE.organs:
        found = measure(label, affine, SITE).get(organ.key)
        row = {"name": organ.name, "label": organ.value, "found": found is not None}
        rows[organ.key] = row | ({"volume_cm3": found.volume_cm3} if found else {"reason": "stage 1 did not find it"})
    return {
        "disclaimer": "For research use only; not a medical device.",
        "organs": rows,
        "warnings": [],
        "input": {"kind": "DICOM", "axes": "slices, rows, columns", "size_voxels": [1, 2, 3], "spacing_mm": [3, 1, 1]},
        "seconds": {"read": 0.25},
        "device": "cpu",
        "engine": {"name": "openvino", "precision": "int8", "networks": "models/compressed", "list_sha256": "ef56"},
        "weights": {"bundle": "hn_ct_two_stage", "sha256": "ab12"},
        "files": {"rtstruct.dcm": "cd34"},
        "versions": {"oarseg": "9.9"},
        **changed,
    }


def page(axcodes: str = "LPS", **changed: object) -> str:
    hu, label, affine = phantom(axcodes)
    return case_page(lps_view(hu, label, affine), SITE, report(label, affine, **changed), PNG.getvalue())


def test_says_what_a_reader_needs():
    text = page(warnings=["left eye: looks odd"])
    for told in ("research use only", "not a medical device", "keep it as such", "left eye: looks odd", "ab12", "cd34",
                 "ef56", "int8", "oarseg 9.9", "not found: stage 1 did not find it", "9.2 to 54.1",
                 "Medbery"):  # fmt: skip
        assert told in text, told
    eye = re.search(r"<tr>.*?Eye_L.*?</tr>", text).group()
    assert ">1.3<" in eye and "4 to 13" in eye and "outside the usual range" in eye and "5 to 7.7" in eye


def test_no_text_becomes_markup():
    text = page(warnings=["<script>alert(1)</script> & more"], weights={"bundle": "</script><img src=x>"})
    assert "<script>alert(1)" not in text and "&lt;script&gt;alert(1)&lt;/script&gt; &amp; more" in text
    assert "<img src=x>" not in text
    assert "\\u003c/script>" in module._json({"name": "</script>"})


def test_nothing_can_be_fetched():
    text = page()
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]+)"', text).group(1)
    assert policy.startswith("default-src 'none'; img-src data:;") and "unsafe" not in policy
    assert not re.search(r"https?://|//\w+\.\w+/|@import|url\(", text.split("base64,")[0] + module._text("viewer.js"))
    assert set(re.findall(r'src="(\w+:)', text)) == {"data:"} and "href=" not in text


def test_tones_keep_soft_tissue_apart():
    assert list(tone(np.array(HU))) == list(TONES)
    assert list(tone(np.array([-5000, 4000], np.int16))) == [0, 255]
    soft = tone(np.arange(-160, 241, 5))
    assert (np.diff(soft.astype(int)) >= 2).all()


def test_a_mosaic_holds_each_slice_once():
    volume = np.arange(7 * 5 * 11, dtype=np.uint8).reshape(7, 5, 11)
    picture, columns = mosaic(volume)
    for z in range(11):
        top, left = z // columns * 5, z % columns * 7
        assert np.array_equal(picture[top : top + 5, left : left + 7], volume[:, :, z].T)
    assert abs(np.log(picture.shape[0] / picture.shape[1])) < np.log(2.1)


@pytest.mark.parametrize("sizes", [(10, 10, 10), (512, 512, 150), (512, 512, 2000), (1, 1, 30_000_000)])
def test_large_cts_are_thinned(sizes):
    step = thinning(sizes)
    assert np.prod([-(-n // s) for n, s in zip(sizes, step, strict=True)]) <= module.MOST_VOXELS
    assert step == (1, 1, 1) or np.prod(sizes) > module.MOST_VOXELS


def test_published_volumes_have_sources():
    for organ in SITE.organs:
        if found := published_volume(organ.name):
            low, high = found.range_cm3
            # What people have must not be warned about.
            assert organ.volume_cm3[0] <= low < high <= organ.volume_cm3[1] and found.source and found.population
    assert published_volume("Brainstem") is None


@pytest.fixture(scope="module")
def chromium():
    webdriver = pytest.importorskip("selenium.webdriver")
    browser, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if browser is None or driver is None:
        pytest.skip("chromium and chromedriver are not installed (Debian packages chromium, chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for option in ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
                   "--disable-background-networking", "--disable-component-update", "--disable-sync",
                   "--window-size=1300,1200"):  # fmt: skip
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    found = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield found
    found.quit()


def opened(chromium, tmp_path, text: str):
    path = tmp_path / "report.html"
    path.write_text(text, encoding="utf-8")
    chromium.get(path.as_uri())
    from selenium.webdriver.support.ui import WebDriverWait

    WebDriverWait(chromium, 20).until(lambda browser: browser.execute_script("return document.body.dataset.ready"))
    assert chromium.execute_script("return document.body.dataset.ready") == "yes"
    return chromium


# Where in a canvas the colour of an organ's outline is: the mean, as shares of width and height, and how many pixels.
PLACE = """
const [id, red, green, blue] = arguments, canvas = document.getElementById(id);
const {data, width, height} = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
let x = 0, y = 0, n = 0;
for (let i = 0; i < data.length; i += 4)
  if (Math.abs(data[i] - red) + Math.abs(data[i + 1] - green) + Math.abs(data[i + 2] - blue) < 12) {
    x += (i / 4) % width; y += Math.floor(i / 4 / width); n++; }
return [n ? x / n / width : -1, n ? y / n / height : -1, n];
"""


def place(browser, plane: str, organ: str) -> tuple[float, float, int]:
    return tuple(browser.execute_script(PLACE, plane, *SITE.organ(organ).color))


def click(browser, css: str) -> None:
    browser.find_element("css selector", css).click()


@pytest.mark.parametrize("axcodes", ["LPS", "RAS", "SPL", "AIR"])
def test_each_organ_is_on_its_side(chromium, tmp_path, axcodes):
    browser = opened(chromium, tmp_path, page(axcodes))
    eye = SITE.values["eye_left"]
    click(browser, f'button[data-organ="{eye}"]')
    # The picture shows the organs and a margin: along each axis the eye's middle is where the phantom has it.
    shape = np.array(SHAPE)
    margin = np.ceil(30 / SPACING)
    low, high = np.maximum(0, [10, 4, 3] - margin), np.minimum(shape, [32, 12, 24] + margin)
    left, back, up = (np.array([29, 9, 22]) - low) / (high - low)
    for plane, expected in {"axial": (left, back), "coronal": (left, 1 - up), "sagittal": (back, 1 - up)}.items():
        x, y, count = place(browser, plane, "eye_left")
        assert count > 40 and (x, y) == pytest.approx(expected, abs=0.02), plane
    assert left > 0.55 and up > 0.55 and back < 0.45
    for line in browser.get_log("browser"):
        assert line["level"] != "SEVERE", line


def test_bars_boxes_and_windows_work(chromium, tmp_path):
    browser = opened(chromium, tmp_path, page())
    eye, mandible = SITE.values["eye_left"], SITE.values["mandible"]
    click(browser, f'button[data-organ="{mandible}"]')
    told = browser.find_element("id", "axial-told").text
    # Slices 3 to 5, the middle one at -20 mm + 4 x 3 mm.
    assert told == "axial, z = -8.0 mm (LPS): Bone_Mandible"
    assert place(browser, "axial", "mandible")[2] > 40 and place(browser, "axial", "eye_left")[2] == 0
    script = "const bar = document.getElementById('axial-slice'); bar.value = arguments[0];"
    script += "bar.dispatchEvent(new Event('input'));"
    browser.execute_script(script, 21)
    assert "Eye_L" in browser.find_element("id", "axial-told").text
    assert place(browser, "axial", "eye_left")[2] > 40
    click(browser, f'input[data-organ="{eye}"]')
    assert place(browser, "axial", "eye_left")[2] == 0
    click(browser, f'input[data-organ="{eye}"]')
    click(browser, "#contours")
    assert place(browser, "axial", "eye_left")[2] == 0
    grey = "const c = document.getElementById('axial').getContext('2d');"
    grey += "return c.getImageData(c.canvas.width / 2, c.canvas.height / 2 + 30, 1, 1).data[0];"
    soft = browser.execute_script(grey)
    choice = "const s = document.getElementById('window'); s.selectedIndex = 1; s.dispatchEvent(new Event('change'));"
    browser.execute_script(choice)
    # 40 HU in the windows of -160 to 240 and -500 to 1500.
    assert soft == pytest.approx(255 * 200 / 400, abs=6)
    assert browser.execute_script(grey) == pytest.approx(255 * 540 / 2000, abs=6)
    fetched = browser.execute_script("return performance.getEntriesByType('resource').map(entry => entry.name)")
    assert [name for name in fetched if not name.startswith("data:")] == []


def test_the_page_names_its_case_and_series_and_leads_back_to_the_batch():
    hu, label, affine = phantom("LPS")
    facts = report(label, affine)
    facts["input"]["series_sha256_16"] = "0123456789abcdef"
    made = case_page(lps_view(hu, label, affine), SITE, facts, PNG.getvalue(), "pt <1>", "../index.html")
    assert "<title>oarseg: pt &lt;1&gt;</title>" in made and "<h1>pt &lt;1&gt;</h1>" in made
    assert '<a href="../index.html">all cases</a>' in made and "Series 0123456789abcdef" in made
    # Versions, checksums and seconds are folded away.
    assert made.count("<details>") == made.count("</details>") >= 4 and "<details open" not in made
    assert "all cases" not in page()


def test_a_click_moves_the_other_planes(chromium, tmp_path):
    from selenium.webdriver import ActionChains

    browser = opened(chromium, tmp_path, page())
    canvas = browser.find_element("id", "axial")
    size = canvas.size
    across, up = size["width"] // 4, size["height"] // 4
    ActionChains(browser).move_to_element_with_offset(canvas, across, -up).click().perform()
    x = float(re.search(r"x = (\S+) mm", browser.find_element("id", "sagittal-told").text).group(1))
    y = float(re.search(r"y = (\S+) mm", browser.find_element("id", "coronal-told").text).group(1))
    # Three quarters of the way from right to left, a quarter from front to back of what is shown.
    assert x == pytest.approx(-38 + 0.75 * 80, abs=3) and y == pytest.approx(-40 + 0.25 * 32 * 1.5, abs=3)


def test_nothing_found_shows_the_ct(chromium, tmp_path):
    hu, label, affine = phantom("RAS")
    label[:] = 0
    browser = opened(
        chromium, tmp_path, case_page(lps_view(hu, label, affine), SITE, report(label, affine), PNG.getvalue())
    )
    assert browser.find_element("id", "axial-told").text.endswith("mm (LPS)")
    assert browser.find_element("id", "organs").text.count("not found") == len(SITE.organs)
