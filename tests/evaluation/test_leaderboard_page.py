"""The page: self-contained, escaped, sound in a browser."""

import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser

import pytest
from synthetic_results import CARDS, HOSTILE, MODELS, png, write_all, write_one

from tgp_multimodal.evaluation import leaderboard_page
from tgp_multimodal.evaluation import leaderboard_plots as plots
from tgp_multimodal.evaluation.leaderboard import build
from tgp_multimodal.evaluation.leaderboard_page import render, script_json

CHROMIUM = (
    shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    return render(build(write_all(tmp_path_factory.mktemp("results"))), "tgp leaderboard")


class Reader(HTMLParser):
    """Elements with their attributes, and the text outside scripts and styles."""

    def __init__(self, page):
        super().__init__()
        self.elements, self.scripts, self.inside = [], [], None
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        self.inside = tag

    def handle_data(self, data):
        if self.inside == "script":
            self.scripts.append(data)
        if self.inside == "script" and "\n" not in data:
            self.inside = None

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def test_nothing_is_fetched(page):
    for _, attributes in Reader(page).elements:
        for name in ("src", "href", "srcset", "action", "data", "poster"):
            value = attributes.get(name) or "#"
            assert value.startswith(("#", "data:")), value
    assert "url(" not in page
    assert "@import" not in page
    assert "default-src 'none'" in page


def test_facts_that_each_result_has_of_its_own_stay_with_it(page):
    environment = page.split("<h2>Environment</h2>")[-1].split("<h2>")[0]
    assert "platform" in environment
    assert "source" not in environment


def test_hostile_names_stay_text(page):
    reader = Reader(page)
    assert len(reader.all("script")) == 2
    assert HOSTILE not in page
    names = {a["data-model"] for _, a in reader.elements if "data-model" in a}
    assert names == set(MODELS)


def test_script_json_cannot_end_its_element():
    data = {"a": "</script><!--&\u2028", "b": HOSTILE}
    text = script_json(data)
    assert "<" not in text
    assert json.loads(text) == data


def test_every_card_is_a_column_and_an_article(page):
    reader = Reader(page)
    assert {a["data-card"] for a in reader.all("th") if "data-card" in a} == set(CARDS)
    assert {a["data-card"] for a in reader.all("article") if "data-card" in a} == set(CARDS)
    ids = [a["id"] for _, a in reader.elements if "id" in a]
    assert len(ids) == len(set(ids))
    for link in reader.all("a"):
        assert link["href"][1:] in ids


def test_samples_picture_is_embedded_when_it_is_small_and_a_picture(tmp_path, monkeypatch):
    write_one(tmp_path, "one", "image/digits", 0.5)
    file = tmp_path / "one" / "samples.png"
    file.write_bytes(png(8, 8))
    assert "data:image/png;base64,iVBOR" in render(build(tmp_path), "")
    file.write_bytes(b"GIF89a")
    assert "is not a PNG" in render(build(tmp_path), "")
    file.write_bytes(png(8, 8))
    monkeypatch.setattr(leaderboard_page, "MAX_PICTURE_BYTES", 10)
    assert "is left out" in render(build(tmp_path), "")


def test_axes_are_drawn_and_their_records_are_not_printed(tmp_path):
    table = {"counting": {"value": 0.5, "n": 30}, "colours": {"value": 1.0, "n": 30}}
    details = {"axes": table, "held_out": {"colours": {"value": 0.25, "n": 8}}}
    details["held_out_items"] = [{"id": "x", "prediction": "never print this"}]
    write_one(tmp_path, "one", "image/scene_eval", 0.5, details=details)
    page = render(build(tmp_path), "")
    assert "On combinations held out of training" in page
    widths = re.findall(r'class="series0" x="0" y="22" width="([\d.]+)%"', page)
    assert widths == ["40.0", "80.0", "20.0"]
    assert "never print this" not in page


def test_skipped_cells_say_why(page):
    assert "cannot answer Perplexity" in page


def test_scale_holds_its_values_and_has_round_ticks():
    scale = plots.scale_for([0.31, 0.62], 0.0, 1.0)
    assert 0 < scale.at(0.31) < scale.at(0.62) < 100
    assert scale.ticks == (0.3, 0.4, 0.5, 0.6)
    flat = plots.scale_for([0.5, 0.5])
    assert flat.at(0.5) == pytest.approx(50)
    assert plots.scale_for([0.0, 0.0]).at(0.0) == pytest.approx(50)
    assert plots.scale_for([1.0, 1.0], 0.0, 1.0).at(1.0) == 100


def test_a_scale_of_what_can_hardly_be_told_apart_has_ticks():
    for most in (5e-324, 4e-323, 1e-320, 1e-300):
        assert len(plots.scale_for([0.0, most]).ticks) > 2
        assert len(plots.scale_for([most, most]).ticks) > 2


def test_labels_touch_neither_dots_nor_each_other():
    places = [(100.0 + 9 * (i % 4), 100.0 + 7 * (i // 4)) for i in range(12)]
    labels = plots.place_labels([f"model-{i}" for i in range(12)], places, 400, (16, 300))
    found = [label for label in labels if label]
    assert 2 <= len(found) < 12
    boxes = []
    for label in found:
        size = 7.2 * len(label.text)
        left = label.x - {"start": 0, "end": size, "middle": size / 2}[label.anchor]
        boxes.append((left, label.y - 11, left + size, label.y + 3))
    for i, one in enumerate(boxes):
        for two in boxes[:i]:
            assert one[2] <= two[0] or two[2] <= one[0] or one[3] <= two[1] or two[3] <= one[1]


def test_short_counts():
    assert [plots.short(x) for x in (12_600_000, 999, 1500, 7e9, 0.25)] == [
        *("12.6M", "999", "1.5k", "7B", "0.25")
    ]


def test_one_model_and_one_card_make_a_page(tmp_path):
    write_one(tmp_path, "one", "text/bits_per_byte", 0.5)
    page = render(build(tmp_path), "")
    assert "nothing to compare" in page
    assert "1 model · 1 card · 1 domain" in page


def test_the_verb_is_quick_to_import_and_imports_nothing_heavy(tmp_path):
    write_all(tmp_path / "results")
    code = (
        "import sys; from tgp_multimodal.verbs.leaderboard import leaderboard;"
        f"leaderboard({str(tmp_path / 'results')!r}, {str(tmp_path / 'out')!r});"
        "print([m for m in ('torch', 'sklearn', 'scipy', 'pandas') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert "leaderboard.html" in done.stdout
    assert (tmp_path / "out" / "leaderboard.html").stat().st_size < 2_000_000


DRIVER = """
const $ = (s) => [...document.querySelectorAll(s)], seen = {};
location.hash = "domain-text"; dispatchEvent(new Event("hashchange"));
seen.panels = $("section.panel:not([hidden])").map((p) => p.id);
const rows = () => $("#domain-text tbody tr:not([hidden])").map((r) => r.dataset.model);
$("#domain-text th[data-card='text/bits_per_byte']")[0].onclick({target: document.body});
seen.sorted = rows();
$(".chip[data-model='nano']")[0].click();
seen.without = rows();
document.getElementById("shared").click();
seen.shared = $("#domain-text thead th[data-card]:not([hidden])").map((h) => h.dataset.card);
document.getElementById("search").value = "bits"; document.getElementById("search").oninput();
seen.searched = $("#domain-text article:not([hidden])").map((a) => a.dataset.card);
document.getElementById("search").value = ""; document.getElementById("search").oninput();
const d = $("#domain-text article[data-card='text/pydoc_package'] details[data-records]")[0];
d.open = true; d.ontoggle();
seen.records = ["right", "wrong"].map((word) => d.querySelectorAll(".record." + word).length);
seen.theme = document.documentElement.dataset.theme; document.getElementById("theme").click();
seen.toggled = document.documentElement.dataset.theme;
seen.overflow = document.documentElement.scrollWidth > innerWidth;
const pre = document.createElement("pre");
pre.id = "seen"; pre.textContent = JSON.stringify(seen); document.body.append(pre);
"""


def chromium(page, folder, width=1280):
    """The page's final DOM and what the console said."""
    file = folder / "page.html"
    file.write_text(page, "utf-8")
    options = [
        *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
        *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
        *("--host-resolver-rules=MAP * ~NOTFOUND", "--enable-logging=stderr", "--dump-dom"),
        *(f"--user-data-dir={folder / 'profile'}", f"--window-size={width},900"),
    ]
    done = subprocess.run(
        [CHROMIUM, *options, file.as_uri()], capture_output=True, text=True, timeout=120, check=True
    )
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
def test_in_a_browser_the_script_runs_and_the_console_is_silent(page, tmp_path):
    dom, console = chromium(page, tmp_path)
    assert console == []
    assert 'data-ready="1"' in dom
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", dom)


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
def test_in_a_browser_an_injected_script_is_refused(page, tmp_path):
    hostile = page.replace("</body>", "<script>document.title = 'taken'</script></body>")
    dom, console = chromium(hostile, tmp_path)
    assert "taken</title>" not in dom
    assert any("Content Security Policy" in line for line in console)


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
def test_in_a_browser_tabs_sorting_filters_and_records_work(page, tmp_path):
    free = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page)
    dom, console = chromium(
        free.replace("</body>", f"<script>{DRIVER}</script></body>"), tmp_path, 500
    )
    assert console == []
    seen = json.loads(
        re.search(r'<pre id="seen">(.*?)</pre>', dom)[1].replace("&lt;", "<").replace("&gt;", ">")
    )
    assert seen["panels"] == ["domain-text"]
    assert seen["sorted"] == [
        "Modèle-Ω 日本語",
        "nano",
        "tfidf-lr",
        HOSTILE,
        "random-weights",
        "majority",
    ]
    assert seen["without"] == [m for m in seen["sorted"] if m != "nano"]
    assert seen["shared"] == ["text/pydoc_package"]  # majority has no bits per byte
    assert seen["searched"] == ["text/bits_per_byte"]
    assert seen["records"] == [5, 5]
    assert {seen["theme"], seen["toggled"]} == {"light", "dark"}
    assert not seen["overflow"]
