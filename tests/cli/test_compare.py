#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""inlay bench --compare: the page in a browser, wide and narrow, light and dark; the picture; what
is no result. The browser's part is skipped, and says so, where there is no Chromium."""
import json
import re
import shutil
import struct
import subprocess
import unittest
import zlib
from html.parser import HTMLParser
from pathlib import Path

import command
from command import CliTest, inlay

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
BLUE, VERMILLION = (0x00, 0x72, 0xb2), (0xd5, 0x5e, 0x00)  # of the first two devices
KERNELS = [f"kernel_{i}" for i in range(12)]
FACTS = {"schema": 1, "version": "1.2.3", "commit": "abc", "date": "2026-01-02T03:04:05Z",
         "os": "An OS", "cpu": "A CPU", "driver_name": "a driver", "vendor": "AMD"}
# Measures a page that is shown in a frame of each width.
PROBE = """<!doctype html><body><script>
const answers = [];
function look(width, then) {
  const frame = document.createElement("iframe");
  frame.style.cssText = `border:0;width:${width}px;height:800px`;
  frame.onload = () => {
    const page = frame.contentDocument, view = frame.contentWindow;
    const seen = kind => [...page.querySelectorAll("svg." + kind)]
      .filter(e => view.getComputedStyle(e).display != "none").length;
    const sizes = [...page.querySelectorAll("svg text")].map(e => e.getBoundingClientRect())
      .filter(box => box.width);
    answers.push({width, scroll: page.documentElement.scrollWidth, wide: seen("wide"),
      narrow: seen("narrow"), paper: view.getComputedStyle(page.body).backgroundColor,
      ink: view.getComputedStyle(page.body).color,
      least: Math.min(...sizes.map(r => r.height)), right: Math.max(...sizes.map(r => r.right))});
    then();
  };
  frame.src = "PAGE";
  document.body.append(frame);
}
look(390, () => look(1280, () => { document.title = "done";
  document.body.innerHTML = "<pre>" + JSON.stringify(answers) + "</pre>"; }));
</script></body>"""


def record(device, suite, test, **more):
    return {**FACTS, "device": device, "driver_info": "1.0", "suite": suite, "test": test, **more}


def results(device, speed):
    """A device's file, as inlay bench writes it."""
    of = {"model": "A-1B", "quantization": "Q4_0"}
    yield record(device, "peak", "fp32", tflops=10.0 * speed, gb_per_s=None)
    yield record(device, "peak", "copy", tflops=None, gb_per_s=300.0 * speed)
    yield record(device, "train", "sft512", tokens_per_s=1000.0 * speed, tokens_per_s_stddev=12.0,
                 loss=2.5, loss_reference=2.5, kernel=None, **of)
    for i, name in enumerate(KERNELS):
        ms = (i + 1) / speed
        yield record(device, "train", "sft512", kernel=name, kernel_ms=ms, flops=1e9,
                     bytes=1e8 / (i + 1), **of)
    yield record(device, "generate", "tg128", tokens_per_s=50.0 * speed, **of)


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.texts, self.boxes = [], [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag == "rect":
            self.boxes.append(dict(attrs))

    def handle_data(self, data):
        self.texts.append(data.strip())


def pixels_of(png):
    """Width, height and the set of colours of an 8-bit RGB picture."""
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    at, data = 8, b""
    while at < len(png):
        size, kind = struct.unpack(">I4s", png[at:at + 8])
        body = png[at + 8:at + 8 + size]
        if kind == b"IHDR":
            width, height, depth, colour = struct.unpack(">IIBB", body[:10])
            assert (depth, colour) == (8, 2)
        data += body if kind == b"IDAT" else b""
        at += 12 + size
    raw, before, colours = zlib.decompress(data), bytearray(3 * width), set()
    for y in range(height):
        kind, row = raw[y * (3 * width + 1)], bytearray(raw[y * (3 * width + 1) + 1:][:3 * width])
        for i in range(3 * width):
            left = row[i - 3] if i >= 3 else 0
            corner = before[i - 3] if i >= 3 else 0
            guess = left + before[i] - corner
            near = min((left, before[i], corner), key=lambda v: abs(guess - v))
            row[i] = (row[i] + (0, left, before[i], (left + before[i]) // 2, near)[kind]) & 255
        before = row
        colours.update(zip(row[::3], row[1::3], row[2::3]))
    return width, height, colours


class Compare(CliTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.a = cls.lines("a.jsonl", results('Card <A> & "B"', 1.0))
        cls.b = cls.lines("b.jsonl", results("Card C", 0.5))

    @classmethod
    def lines(cls, name, records):
        return cls.write(name, "".join(json.dumps(r) + "\n" for r in records))

    def compare(self, *files, to="report.html"):
        output = self.folder / to
        output.unlink(missing_ok=True)
        result = inlay("bench", "--compare", *files, "-o", output)
        self.assertEqual((result.code, result.err), (0, ""), result)
        return output

    def refuse(self, sentence, *args):
        output = self.folder / "refused.html"
        result = inlay("bench", "--compare", *args, *([] if "-o" in args else ["-o", output]))
        self.assertEqual(result.code, 2, result)
        self.assertEqual(len(result.errors), 1, result)
        self.assertIn(sentence, result.errors[0])
        self.assertFalse(output.exists())


class TestPage(Compare):
    def test_self_contained(self):
        text = self.compare(self.a, self.b).read_text()
        page = Page(text)
        self.assertNotIn("script", page.tags)
        names = {name for name, _ in page.attributes}
        self.assertFalse(names & {"src", "href", "onload", "onclick"}, names)
        self.assertNotRegex(text, r"https?:|@import|url\(")
        self.assertIn("width=device-width", text)
        for title in ("Training", "Generating", "Time by kernel", "Roofline", "Devices"):
            self.assertIn(title, page.texts)

    def test_names_are_text(self):
        page = Page(self.compare(self.a, self.b).read_text())
        self.assertIn('Card <A> & "B"', page.texts)
        self.assertNotIn("a", page.tags)

    def test_bars_are_as_long_as_their_values(self):
        page = Page(self.compare(self.a, self.b).read_text())
        bars = [b for b in page.boxes if float(b["height"]) == 15.0]
        first, second = (float(bars[i]["width"]) for i in (0, 1))
        self.assertAlmostEqual(second / first, 0.5, delta=0.01)

    def test_numbers(self):
        text = self.compare(self.a, self.b).read_text()
        self.assertIn("1000 ± 12", text)
        self.assertIn("<b>0.50×</b>", text)
        self.assertIn("other", Page(text).texts)  # twelve kernels, seven colours

    def test_a_wrong_loss_stands_out(self):
        wrong = [{**r, "loss": 3.5} if r.get("loss") else r for r in results("Card D", 2.0)]
        page = self.compare(self.a, self.lines("wrong.jsonl", wrong)).read_text()
        self.assertEqual(page.count('class="bad"'), 1)
        self.assertIn("not the reference's", page)

    def test_the_same_device_twice(self):
        page = Page(self.compare(self.b, self.lines("c.jsonl", results("Card C", 0.7))).read_text())
        self.assertTrue([t for t in page.texts if t.startswith("Card C, ") and "b.jsonl" in t])

    def test_what_one_device_lacks(self):
        few = [r for r in results("Card E", 1.0) if r["suite"] == "train"]
        page = Page(self.compare(self.a, self.lines("few.jsonl", few)).read_text())
        self.assertIn("not measured", page.texts)

    def test_one_file(self):
        self.compare(self.a)


class TestBrowser(Compare):
    def look(self, *flags):
        page = self.compare(self.a, self.b)
        probe = self.folder / "probe.html"
        probe.write_text(PROBE.replace("PAGE", page.name))
        out = subprocess.run(
            [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom",
             "--allow-file-access-from-files", f"--user-data-dir={self.folder}/chromium",
             "--virtual-time-budget=10000", *flags, probe.as_uri()],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=120, check=True).stdout
        return json.loads(re.search(rb"<pre>(.*)</pre>", out).group(1))

    @unittest.skipUnless(CHROMIUM, "skipped: there is no Chromium")
    def test_phone_and_desktop(self):
        phone, desktop = self.look()
        for view in (phone, desktop):
            self.assertLessEqual(view["scroll"], view["width"])
            self.assertLessEqual(view["right"], view["width"])
            self.assertGreaterEqual(view["least"], 10)  # pixels of the smallest text's line
        self.assertEqual((phone["wide"], phone["narrow"]), (0, 4))
        self.assertEqual((desktop["wide"], desktop["narrow"]), (4, 0))

    @unittest.skipUnless(CHROMIUM, "skipped: there is no Chromium")
    def test_dark(self):
        brightness = []
        for flags in ([], ["--blink-settings=preferredColorScheme=0"]):
            view = self.look(*flags)[0]
            brightness.append([sum(map(int, re.findall(r"\d+", view[k])[:3]))
                               for k in ("paper", "ink")])
        light, dark = brightness
        self.assertGreater(light[0] - light[1], 500)
        self.assertGreater(dark[1] - dark[0], 500)


class TestPicture(Compare):
    def test_picture(self):
        png = self.compare(self.a, self.b, to="report.png").read_bytes()
        width, height, colours = pixels_of(png)
        self.assertGreater(width, 1000)
        self.assertGreater(height, 1000)
        self.assertLessEqual({BLUE, VERMILLION, (255, 255, 255)}, colours)


class TestBadInput(Compare):
    def test_files(self):
        good = json.dumps(next(results("Card", 1.0)))
        cases = {
            "nowhere.jsonl": (None, "cannot read "),
            "empty.jsonl": ("\n\n", "holds no results"),
            "text.jsonl": (good + "\nhello\n", "text.jsonl:2: it is not JSON"),
            "list.jsonl": ("[1]\n", "list.jsonl:1: it is no JSON object"),
            "other.jsonl": ('{"a": 1}\n', 'its "schema" is not 1'),
            "newer.jsonl": (good.replace('"schema": 1', '"schema": 2'), 'its "schema" is not 1'),
            "words.jsonl": (good.replace('"tflops": 10.0', '"tflops": "fast"'),
                            'its "tflops" is neither a number nor null'),
            "nameless.jsonl": (good.replace('"device"', '"dev"'), 'it has no "device"'),
            "twice.jsonl": (good.replace('"schema": 1', '"schema": 1, "schema": 1'), "duplicate"),
            "nul.jsonl": (good + "\n\0\n", "nul.jsonl:2: it is not JSON"),
        }
        for name, (text, sentence) in cases.items():
            with self.subTest(name):
                path = self.folder / name
                if text is not None:
                    path.write_text(text)
                self.refuse(sentence, self.a, path)

    def test_outputs(self):
        self.refuse("is a .html or a .png file", self.a, "-o", self.folder / "report.txt")
        self.refuse("--compare", "-o", self.folder / "refused.html")
        text = Path(self.a).read_text()
        copy = self.write("results.html", text)
        self.refuse("would replace the results", copy, "-o", copy)
        self.assertEqual(Path(copy).read_text(), text)

    def test_too_many_devices(self):
        many = [r for i in range(17) for r in results(f"Card {i}", 1.0)]
        self.refuse("more than 16 devices", self.lines("many.jsonl", many))


if __name__ == "__main__":
    command.main()
