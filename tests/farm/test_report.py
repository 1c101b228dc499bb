"""Reports of batches: their numbers are those of the records, and nothing of a record becomes markup."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import statistics
import tracemalloc
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from vqafast import cli
from vqafast.errors import EXIT_CODES, InvalidArgument, MissingFile, Unsupported, VqafastError
from vqafast.farm.ladder import Ladder, Rung
from vqafast.farm.record import Record
from vqafast.farm.report.gather import gather, read_records
from vqafast.farm.report.pages import ladder_page, report_page

if TYPE_CHECKING:
    from collections.abc import Iterator

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
EVIL = "</script><script>document.title='taken'</script><img src=x onerror=alert(1)>"
DOCS = Path(__file__).resolve().parents[2] / "docs"


class Page(HTMLParser):
    """Cells of the tables by id, the text, and what a browser might fetch or run."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tables: dict[str, list[list[str]]] = {}
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._rows: list[list[str]] | None = None
        self._cell = False
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "table":
            self._rows = self.tables.setdefault(dict(attrs)["id"] or "", [])
        elif tag == "tr" and self._rows is not None:
            self._rows.append([])
        elif tag == "td" and self._rows:
            self._rows[-1].append("")
            self._cell = True

    def handle_endtag(self, tag: str) -> None:
        if tag == "td":
            self._cell = False

    def handle_data(self, data: str) -> None:
        self.text += data
        if self._cell and self._rows:
            self._rows[-1][-1] += data

    def rows(self, table: str) -> list[list[str]]:
        return [row for row in self.tables[table] if row]


def assert_fetches_nothing(html: str) -> None:
    assert "http" not in html.replace("http-equiv", "")
    page = Page(html)
    for tag, attrs in page.tags:
        assert tag not in {"link", "img", "iframe", "object", "embed", "base", "form", "a", "use"}
        assert not {"src", "href", "srcset", "action", "xlink:href"} & set(attrs)
        assert not [name for name in attrs if name.startswith("on")]
    assert not re.search(r"url\(|@import", html)
    policies = [a["content"] for t, a in page.tags if a.get("http-equiv") == "Content-Security-Policy"]
    assert len(policies) == 1
    assert "default-src 'none'" in (policies[0] or "")
    assert [tag for tag, _ in page.tags].count("script") == 1


def scored(path: str, score: float, **more: Any) -> Record:
    scale = {"scale_min": 0.0, "scale_max": 100.0, "direction": "higher_is_better"}
    known = {"model": "m", "model_version": "1", "duration": 4.0, "width": 64, "height": 48, "codec": "h264"}
    return Record(path, "k", "scored", score, **{**scale, **known, "size": 1000, "bit_rate": 2000.0, **more})


def failed(path: str, code: str, message: str = "must be good") -> Record:
    return Record(path, "k", "failed", code=code, message=message)


def page_of(*records: Record, threshold: float | None = None, worst: int = 20) -> str:
    g = gather(records, worst=worst, threshold=threshold)
    return report_page(g, title="T", source="records.jsonl", threshold=threshold)


def lines(path: Path, *records: Record) -> Path:
    path.write_text("".join(r.to_json() + "\n" for r in records), encoding="utf-8", errors="surrogateescape")
    return path


def test_numbers_are_those_of_the_records() -> None:
    scores = [(37 * i) % 101 + i / 1000 for i in range(101)]
    parts = [
        {"start": 2.0 * j, "end": 2.0 * j + 2, "score": s + j, "frames": 4}
        for j, s in enumerate((11.0, 12.0))
    ]
    records = [scored(f"/v/{i}.mp4", s, uncertainty=3.25) for i, s in enumerate(scores)]
    records[5] = scored("/v/5.mp4", scores[5], segments=tuple(parts))
    records += [failed("/v/a", "truncated"), failed("/v/b", "truncated"), failed("/v/c", "timeout")]
    g = gather(records, worst=7, threshold=60)
    assert (g.scored, g.failed, g.below) == (101, 3, sum(s < 60 for s in scores))
    assert g.lowest == min(scores)
    assert g.mean == pytest.approx(statistics.fmean(scores))
    assert g.median == pytest.approx(statistics.median(scores), abs=0.1)
    assert g.p5 == pytest.approx(sorted(scores)[5], abs=0.1)
    assert sum(g.bars) == 101
    assert [r.score for r in g.worst] == sorted(scores)[:7]

    page = Page(report_page(g, title="T", source="s", threshold=60))
    rows = page.rows("worst")
    assert [row[0] for row in rows] == [f"{s:.1f}" for s in sorted(scores)[:7]]
    first = g.worst[0]
    assert rows[0][1:2] + rows[0][3:] == ["3.2", "64×48", "h264", "2 kbit/s", "1 kB", first.path]
    assert page.rows("segments") == [
        ["11.0", "0.00 s", "2.00 s", f"{scores[5]:.1f}", "/v/5.mp4"],
        ["13.0", "2.00 s", "4.00 s", f"{scores[5]:.1f}", "/v/5.mp4"],
    ]
    assert [row[:2] for row in page.rows("failures")] == [["2", "truncated"], ["1", "timeout"]]
    assert "the file ends before anything could be decoded" in page.rows("failures")[0][2]
    counts = [int(n) for n in re.findall(r"<title>[\d.]+ to [\d.]+: (\d+)</title>", page_of(*records))]
    assert counts == g.bars


def test_score_over_time_is_of_frames_or_else_of_segments() -> None:
    frames = ((0.0, 0.0), (1.0, 100.0), (2.0, 50.0))
    parts = tuple({"start": float(i), "end": i + 1.0, "score": 20.0, "frames": 2} for i in range(4))
    html = page_of(scored("/f", 1, frames=frames), scored("/s", 2, segments=parts), scored("/n", 3))
    charts = [c.split("</tr>")[0].count("<svg") for c in html.split("<tr>") if "/f" in c or "/s" in c]
    assert charts[:2] == [1, 1]
    points = [p.split() for p in re.findall(r'<polyline[^>]*points="([^"]*)"', html)]
    assert [len(p) for p in points] == [3, 4]
    heights = [float(p.split(",")[1]) for p in points[0]]
    assert heights[1] < heights[2] < heights[0]


def test_nothing_of_a_record_becomes_markup() -> None:
    broken = b"/v/\xff.mp4".decode("utf-8", "surrogateescape")
    note = {"code": EVIL, "message": EVIL}
    part = {"start": 0.0, "end": 1.0, "score": 1.0, "frames": 1}
    html = page_of(
        scored(EVIL, 1, codec=EVIL, model=EVIL, model_version=EVIL, warnings=(note,), segments=(part,)),
        scored(broken, 2),
        scored("/v/\ud800\u202e\n.mp4", 3),
        failed(EVIL, EVIL, EVIL),
    )
    assert_fetches_nothing(html)
    page = Page(html)
    rows = page.rows("worst")
    assert rows[0][4] == EVIL
    assert rows[0][7].startswith(EVIL)
    assert [rows[1][7], rows[2][7]] == ["/v/�.mp4", "/v/���.mp4"]
    assert page.rows("failures")[0][1] == EVIL
    assert page.rows("warnings")[0] == ["1", EVIL]
    html.encode("utf-8")


@pytest.mark.parametrize("records", [(), (failed("/v", "timeout"),), (scored("/v", 5.0),)])
def test_pages_of_few_records(records: tuple[Record, ...]) -> None:
    html = page_of(*records)
    assert_fetches_nothing(html)
    assert ("worst" in Page(html).tables) == any(r.score is not None for r in records)


def test_words_for_codes_are_those_of_the_docs() -> None:
    from vqafast.farm.report import pages

    table = dict(re.findall(r"^\| \d+ \| (\w+) \| (.*) \|$", (DOCS / "exit_codes.md").read_text(), re.M))
    reasons = json.loads(Path(pages.__file__).with_name("reasons.json").read_text())
    # Those of batches as a whole are no reason for one file.
    of_batches = {"output", "files_failed", "below_threshold"}
    assert reasons == {code: text.replace("`", "") for code, text in table.items() if code not in of_batches}
    assert set(reasons) <= set(EXIT_CODES)


@pytest.mark.slow
def test_memory_does_not_grow_with_the_records(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    with path.open("w") as file:
        for i in range(200_000):
            line = f'"schema":1,"path":"/v/{i}.mp4","key":"{i}","scale_min":0,"scale_max":100'
            if i % 10:
                file.write(f'{{{line},"status":"scored","score":{(i * 7919) % 99991 / 1000}}}\n')
            else:
                file.write(f'{{{line},"status":"failed","code":"corrupt","message":"{i}"}}\n')
    tracemalloc.start()
    try:
        g = gather(read_records([str(path)]))
        html = report_page(g, title="T", source="s")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (g.scored, g.failed) == (180_000, 20_000)
    assert len(html) < 200_000
    assert peak < 10e6


def test_a_running_batch_may_be_in_the_middle_of_a_line(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    path = lines(tmp_path / "out" / "records.jsonl", scored("/a", 1.0), scored("/b", 2.0))
    with path.open("a") as file:
        file.write('{"schema":1,"pa')
    assert [r.path for r in read_records([str(path.parent)])] == ["/a", "/b"]


GOOD = scored("/a", 1.0).to_dict()


@pytest.mark.parametrize(
    ("line", "error", "words"),
    [
        ("no json", InvalidArgument, "must be an object"),
        (json.dumps({**GOOD, "score": "1"}), InvalidArgument, "score must be a finite number, got '1'"),
        (json.dumps({**GOOD, "score": float("nan")}), InvalidArgument, "score must be a finite number"),
        (json.dumps({**GOOD, "scale_max": None}), InvalidArgument, "scale_min must be below scale_max"),
        (json.dumps({**GOOD, "scale_max": 0.0}), InvalidArgument, "scale_min must be below scale_max"),
        (json.dumps({**GOOD, "segments": [{"score": 1}]}), InvalidArgument, "segments.start must be"),
        (json.dumps({**GOOD, "segments": [3]}), InvalidArgument, "segments.start must be"),
        (json.dumps({**GOOD, "warnings": [{"code": 3}]}), InvalidArgument, "warnings.code must be text"),
        (json.dumps({**GOOD, "path": 7}), InvalidArgument, "path must be text, got 7"),
        (
            json.dumps({**GOOD, "direction": "lower_is_better"}),
            Unsupported,
            "higher scores must be the better",
        ),
    ],
)
def test_lines_that_are_no_records(tmp_path: Path, line: str, error: type[VqafastError], words: str) -> None:
    path = tmp_path / "r.jsonl"
    path.write_text(scored("/a", 1.0).to_json() + "\n" + line + "\n")
    with pytest.raises(error, match=re.escape(words)) as caught:
        list(read_records([str(path)]))
    assert f"{path}:2: " in str(caught.value)


def test_what_cannot_be_put_together() -> None:
    with pytest.raises(InvalidArgument, match=r"one scale, got 0\.\.100 and 0\.\.1"):
        gather([scored("/a", 1.0), scored("/b", 0.5, scale_max=1.0)])
    with pytest.raises(MissingFile, match="must be a file of records"):
        list(read_records(["/nowhere"]))


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = lines(tmp_path / "r.jsonl", scored("/a", 10.0), scored("/b", 70.0), failed("/c", "corrupt"))
    out = tmp_path / "report.html"
    assert (
        cli.run(["report", str(path), "-o", str(out), "--title", EVIL, "--below", "60", "--worst", "1"]) == 0
    )
    assert capsys.readouterr().out == f"2 scored, 1 failed: {out}\n"
    page = Page(out.read_text(encoding="utf-8"))
    assert [row[7] for row in page.rows("worst")] == ["/a"]
    assert EVIL in page.text
    assert "below 60" in page.text
    assert_fetches_nothing(out.read_text(encoding="utf-8"))
    assert cli.run(["report", str(path), "-o", str(tmp_path / "no" / "r.html")]) == EXIT_CODES["output"]
    assert cli.run(["report", str(path), "-o", str(out), "--worst", "-1"]) == EXIT_CODES["invalid_argument"]
    assert cli.run(["report", str(tmp_path), "-o", str(out)]) == EXIT_CODES["missing_file"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("needs Chromium")
    api = pytest.importorskip("playwright.sync_api")
    with api.sync_playwright() as tool:
        made = tool.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield made
        made.close()


@contextlib.contextmanager
def opened(browser: Any, path: Path) -> Iterator[Any]:
    """The page of a file, which must say nothing and fetch nothing but itself."""
    page = browser.new_page()
    told: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: told.append(message.text))
    page.on("pageerror", lambda error: told.append(str(error)))
    page.on("dialog", lambda dialog: told.append(dialog.message))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(path.as_uri())
    yield page
    assert (told, asked) == ([], [path.as_uri()])
    page.close()


def test_in_chromium(browser: Any, tmp_path: Path) -> None:
    records = [scored(f"/{i}", s, size=n) for i, (s, n) in enumerate([(30, 9), (4, 1000), (200 / 3, 20)])]
    out = tmp_path / "report.html"
    out.write_text(page_of(*records, scored(EVIL, 99), failed(EVIL, "corrupt", EVIL)), encoding="utf-8")
    with opened(browser, out) as page:

        def column(place: int) -> list[str]:
            cells = page.locator(f"#worst tbody tr td:nth-child({place})")
            return [text.strip() for text in cells.all_inner_texts()]

        assert column(1) == ["4.0", "30.0", "66.7", "99.0"]
        page.get_by_role("columnheader", name="score").first.click()
        assert column(1) == ["99.0", "66.7", "30.0", "4.0"]
        page.get_by_role("columnheader", name="score").first.click()
        assert column(1) == ["4.0", "30.0", "66.7", "99.0"]
        page.get_by_role("columnheader", name="size").click()
        assert column(7) == ["9 B", "20 B", "1 kB", "1 kB"]
        page.emulate_media(color_scheme="dark")
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(13, 17, 23)"
        assert page.title() == "T"


def test_a_ladder_in_chromium(browser: Any, tmp_path: Path) -> None:
    known = {"width": 64, "height": 48, "codec": "h264", "timeline": ((0.0, 20.0), (1.0, 30.0))}
    rungs = (
        Rung("/s", "s", 50.0, 2.0, bit_rate=8e6, **known),  # type: ignore[arg-type]
        Rung("/n", "n", code="not_a_video", message=EVIL),
        Rung("/b", "b", 40.0, 2.0, -10.0, 0.0, -12.0, bit_rate=2e6, **known),  # type: ignore[arg-type]
        Rung("/c", "c", 45.0, 2.0, -5.0, 0.0, -7.0, bit_rate=5e5, **known),  # type: ignore[arg-type]
    )
    out = tmp_path / "ladder.html"
    out.write_text(ladder_page(Ladder(rungs, (64, 48), 0.0, 100.0, "m", 1.0), title="T"), encoding="utf-8")
    with opened(browser, out) as page:
        names = page.locator("#rungs tbody tr td:first-child")
        # A row that has fewer cells is no obstacle.
        for heading, order in (("bit rate", "ncbs"), ("to the source", "nsbc"), ("worst part", "nsbc")):
            page.get_by_role("columnheader", name=heading).click()
            assert "".join(text.strip() for text in names.all_inner_texts()) == order


def test_in_chromium_without_javascript(browser: Any, tmp_path: Path) -> None:
    out = tmp_path / "report.html"
    out.write_text(page_of(scored("/a", 12.5, frames=((0.0, 10.0), (1.0, 15.0)))), encoding="utf-8")
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(out.as_uri())
    assert page.locator("#worst tbody").inner_text().split() == [
        "12.5",
        "64×48",
        "h264",
        "2",
        "kbit/s",
        "1",
        "kB",
        "/a",
    ]
    assert page.locator("svg.chart").first.bounding_box()["width"] > 500
    assert page.locator("svg.spark").first.bounding_box()["width"] > 100
    context.close()
