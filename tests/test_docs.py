"""Pages keep to their width, their links lead somewhere, and their commands work: all that can be run here are run."""

from __future__ import annotations

import ast
import inspect
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from command_line import run_cli
from PIL import Image
from samples import measured_again, small_spec, synthetic_table
from simulated_machine import ZEN1
from simulated_worker import write_devices

import hwnas
from hwnas.cli.app import app
from hwnas.config_file import load_config
from lut import save_table
from profilers import load_devices
from search_spaces import SpaceSpec, make_space

pytestmark = pytest.mark.usefixtures("short_runs")

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
MARKDOWN = sorted({*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("hwnas/templates/*.md.txt")})


@dataclass(frozen=True)
class Command:
    """A command of a page, by its words."""

    page: str
    words: tuple[str, ...]

    def begins_with(self, beginning: str) -> bool:
        """Whether its first words are these."""
        wanted = tuple(beginning.split())
        return self.words[: len(wanted)] == wanted

    def __str__(self) -> str:
        return f"{self.page}: {' '.join(self.words)}"


NOT_RUN = {
    "python3 -m venv": "the network; .ci/run gives the README's two commands word for word",
    ".venv/bin/pip": "the network, as above",
    ".venv/bin/pytest": "the tests themselves",
    ".venv/bin/ruff": "the tests do not lint; .ci/run does",
    ".venv/bin/mypy": "the tests do not lint; .ci/run does",
    "python3 -m build": "tests/test_wheel.py builds the wheel",
    "hwnas-env/bin/pip": "the network, on a board",
    "hwnas-env/bin/python": "a board",
    "echo performance": "a board's administrator",
    "pkg install": "a phone",
    "python3 -c": "a phone",
    "adb forward": "a phone; tests/profilers/test_transports.py has a program that stands for adb",
    "ssh-copy-id": "a phone",
    "ssh -N": "another machine",
    "hwnas devices check pi5": "a board",
    "hwnas profile --device pi5": "a board",
    "hwnas search --device pi5": "a board, CIFAR-10 and hours",
    "hwnas devices check phone": "a phone",
    "hwnas profile --device phone": "a phone",
    "pip install": "the network",
    "uv": "uv, and the network",
    "docker": "Docker; tests/test_packaging.py reads the Dockerfile",
    ".venv/bin/mkdocs": "tests/test_site.py builds the site",
    "git tag": "a release",
    "sudo": "an administrator",
    "hwnas devices check rpi4": "a board",
    "hwnas devices check rpi4-ort": "a board",
    "hwnas profile --device onnx-reference": "a quiet machine; tests/profilers/test_onnx_reference.py times a block",
    "hwnas profile --device rpi4": "a board",
    "hwnas profile --device rpi4-ort": "a board",
    "hwnas profile --device cpu-openvino": "OpenVINO, and minutes; tests/profilers/test_workers.py runs its worker",
    "hwnas compare model.onnx --runtime": "OpenVINO, as the command before",
    "hwnas profile --device rpi4-qemu": "an emulated board; tests/profilers/test_boards.py has one",
    "hwnas search --space nasbench-macro --data digits --resolutions": "minutes; tests/hwnas/test_resolutions.py",
    "hwnas profile --space fbnet-s --resolutions": "minutes; tests/hwnas/test_resolutions.py makes a smaller one",
    "hwnas explain": "a quiet machine; tests/hwnas/test_explain.py explains small models",
    "hwnas profile --kernels": "a quiet machine; tests/hwnas/test_explain.py measures small models",
    "hwnas predict": "the table before",
    "hwnas ui": "serves until it is ended; tests/hwnas/test_ui.py starts it",
    "hwnas device serve": "serves until it is ended; tests/profilers/test_boards.py starts it",
    "hwnas device track": "serves until it is ended; tests/profilers/test_boards.py starts it",
    "hwnas device emulate": "the network, and compilers; tests/profilers/test_boards.py sets one up",
    "hwnas search --space fbnet-s --data cifar10": "CIFAR-10, and hours",
    "hwnas search --data folder": "a folder of images; tests/hwnas/test_image_files.py makes some",
    "hwnas search --task detection --data coco": "images with boxes; tests/hwnas/test_task_runs.py makes some",
    "hwnas search --data arrays": "a file of arrays; tests/hwnas/test_arrays.py makes some",
    "hwnas search --space autoformer": "CIFAR-10, and an hour",
    "hwnas search --space nasbench-macro --data cifar10": "CIFAR-10, and half an hour",
    "hwnas search --space mine.safetensors": "the table of a board, as the command before makes it",
    "hwnas profile --space nasbench-macro --input-size 8": "two devices; tests/hwnas/test_fleet.py makes tables",
    "hwnas search --space nasbench-macro --lut": "the two tables before; tests/hwnas/test_fleet.py makes some",
    "hwnas search cifar.yaml": "CIFAR-10, and hours; its settings are read",
    "python benchmarks/against_mobilenets.py": "the two runs before, and an hour",
    "python benchmarks/composed.py": "CIFAR-10; tests/hwnas/test_annotations.py makes a small set",
    "python benchmarks/few_shot.py": "latencies of devices; tests/lut/test_few_shot_benchmark.py makes some",
    "python benchmarks/head_to_head.py": "CIFAR-10, Torch-Pruning, and an hour",
    "hwnas profile --space fbnet-s --head detection": "minutes; tests/hwnas/test_task_runs.py makes such tables",
    "python benchmarks/mixed_precision.py": "CIFAR-10, and an hour",
    "hwnas export runs/digits -o bundle-mixed": "minutes; tests/hwnas/test_mixed.py exports such a bundle",
    "python benchmarks/runtimes.py": "all runtimes, CIFAR-10, a quiet machine and an hour",
    "ray": "a cluster; tests/hwnas/test_scaling.py makes one of two nodes",
    "python benchmarks/scaling.py": "Ray, and a minute; tests/hwnas/test_scaling.py runs it on a few networks",
    "hwnas export run0": "the run before",
    "hwnas export runs/detector": "a trained detector; tests/hwnas/test_task_bundles.py exports one",
    "python3 bundle-detector/predict.py": "the bundle before; tests/hwnas/test_task_bundles.py runs such a program",
}
"""Beginnings of the commands that no test runs, and what they need. They are parsed like all others."""

QUICK = (
    "hwnas devices",
    "hwnas spaces",
    "hwnas list",
    "hwnas new",
    "hwnas lut show",
    "hwnas lut plot",
    "hwnas lut diff",
    "hwnas lut merge",
    "hwnas lut import",
)
"""Beginnings of those that run in the default suite too, on files that are there."""

SIMULATED = ("--device", "sim", "--devices", "devices.yaml")
SHORT = ("--epochs", "1", "--retrain-epochs", "1", "--evaluations", "4", "--train-images", "256")
SHORT += ("--set", "search.finalists=2")
ALONE = ("--set", "retrain.references=false")
GIVEN_TABLE = ("--lut", "digits.lut.json", "--width", "0.25")
SMALL = {
    "hwnas profile": (*SIMULATED, "--input-size", "32", "--width", "0.25", "--networks", "20", "--rounds", "40"),
    "hwnas lut verify": ("--devices", "devices.yaml", "--networks", "4"),
    "hwnas lut adapt": (*SIMULATED, "--threads", "1", "--rounds", "20"),
    "hwnas search --data digits": (*SHORT, *GIVEN_TABLE),
    "hwnas search --model": (*SHORT, *ALONE, "--set", "trust.extra_minutes=0"),
    "hwnas search --strategy": (*SHORT, *ALONE, *GIVEN_TABLE, "--out", "run"),
    "hwnas compare": ("--rounds", "10"),
}
"""What is added to commands, by their beginning, so that they take seconds and measure a machine that is simulated."""

CHAPTERS = (
    ("README.md", "docs/deploy.md", "docs/start.md"),
    ("docs/extend.md", "docs/tracking.md"),
    ("docs/results.md", "docs/latency.md"),
    ("docs/own-network.md",),
)
"""Pages that go on from what those before them left; a command that an earlier one has too is run once. What the README
has in common with a page of another chapter is run there alone."""


def _blocks(page: Path, languages: str) -> Iterator[str]:
    text = page.read_text(encoding="utf-8")
    return (block[1] for block in re.finditer(rf"^```(?:{languages})\n(.*?)^```$", text, re.DOTALL | re.MULTILINE))


def _commands(page: Path) -> Iterator[Command]:
    name = str(page.relative_to(ROOT))
    for block in _blocks(page, "sh|console|bash"):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line.removeprefix("$ "), comments=True)
            while words:
                end = words.index("&&") if "&&" in words else len(words)
                first = words[0].removeprefix(".venv/bin/") if words[0].endswith(("/hwnas", "/python")) else words[0]
                yield Command(name, (first, *words[1:end]))
                words = words[end + 1 :]


COMMANDS = [command for page in PAGES for command in _commands(page)]
OURS = [command for command in COMMANDS if command.words[0] == "hwnas"]


def _anchors(page: Path) -> set[str]:
    """Return what links to a page's headings are called, as GitHub makes them from the headings' texts."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def _needs(command: Command) -> str | None:
    return next((needed for beginning, needed in NOT_RUN.items() if command.begins_with(beginning)), None)


def _is_quick(command: Command) -> bool:
    return _needs(command) is None and any(map(command.begins_with, QUICK))


@pytest.mark.parametrize("page", MARKDOWN, ids=lambda page: str(page.relative_to(ROOT)))
def test_lines_have_at_most_120_characters(page: Path) -> None:
    lines = enumerate(page.read_text(encoding="utf-8").splitlines(), start=1)
    assert [f"line {number} has {len(line)}" for number, line in lines if len(line) > 120] == []


@pytest.mark.parametrize("page", MARKDOWN, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files_and_headings_that_are_there(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if re.match(r"https?://|mailto:", link):
            continue
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        assert target.exists(), f"{link}: no such file"
        assert not anchor or anchor in _anchors(target), f"{link}: no such heading"


def test_the_index_names_every_page() -> None:
    index = ROOT / "docs" / "index.md"
    named = set(re.findall(r"^- \[.+?\]\(([\w-]+\.md)\)", index.read_text(encoding="utf-8"), re.MULTILINE))
    assert named == {page.name for page in index.parent.glob("*.md")} - {index.name}


def test_all_blocks_of_commands_are_understood() -> None:
    assert len(COMMANDS) > 40 and {c.page for c in OURS} > {page for chapter in CHAPTERS for page in chapter}
    for page in PAGES:
        unmarked = [b for b in _blocks(page, "") if re.match(r"(\$ )?(hwnas|pip|python3?) ", b)]
        assert not unmarked, f"{page}: commands in a block that is not marked sh"


@pytest.mark.parametrize("beginning", [*NOT_RUN, *QUICK, *SMALL])
def test_what_is_said_of_commands_is_said_of_one_that_is_there(beginning: str) -> None:
    assert any(command.begins_with(beginning) for command in COMMANDS)


@pytest.mark.parametrize("command", OURS, ids=str)
def test_the_command_line_takes_it(command: Command) -> None:
    """As far as it goes without running it: every word, flag and number."""
    current: Any = typer.main.get_command(app)
    context, rest = None, [*command.words[1:]]
    while hasattr(current, "commands"):
        assert rest and rest[0] in current.commands, f"{' '.join(command.words)}: no command {rest[:1]}"
        context = current.context_class(current, info_name=rest[0], parent=context)
        current, rest = current.commands[rest[0]], rest[1:]
        if getattr(current, "invoke_without_command", False) and (not rest or rest[0].startswith("-")):
            break
    current.make_context(command.words[-1], rest, parent=context)


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.words[0].startswith("python")], ids=str)
def test_programs_of_ours_are_there(command: Command) -> None:
    made = ("bundle/predict.py", "bundle-detector/predict.py", "test_my_strategy.py")
    programs = [word for word in command.words if word.endswith(".py") and word not in made]
    assert all((ROOT / program).is_file() for program in programs)


def test_calls_in_python_are_as_the_functions_have_it() -> None:
    num_checked = 0
    for page in PAGES:
        for call in (node for block in _blocks(page, "python") for node in ast.walk(ast.parse(block))):
            match call:
                case ast.Call(func=ast.Attribute(value=ast.Name(id="hwnas"), attr=name), args=given, keywords=named):
                    arguments = {keyword.arg: keyword.value for keyword in named if keyword.arg is not None}
                    inspect.signature(getattr(hwnas, name)).bind(*given, **arguments)
                    num_checked += 1
    assert num_checked >= 10


def test_settings_in_yaml_are_settings(tmp_path: Path) -> None:
    """Whole files and sections alike; the budget is a flag where they leave it out."""
    num_read = 0
    for page in PAGES:
        for block in _blocks(page, "yaml"):
            content = yaml.safe_load(block)
            if isinstance(content, dict) and {"data", "search", "retrain", "max_latency"} & content.keys():
                (tmp_path / "c.yaml").write_text(block)
                load_config(tmp_path / "c.yaml", {"max_latency": "60%"})
                num_read += 1
    assert num_read >= 2


def test_devices_in_yaml_are_devices(tmp_path: Path) -> None:
    num_read = 0
    for page in PAGES:
        for block in _blocks(page, "yaml"):
            content = yaml.safe_load(block)
            if isinstance(content, dict) and all(isinstance(v, dict) and "runtime" in v for v in content.values()):
                (tmp_path / "d.yaml").write_text(block)
                num_read += len(load_devices(tmp_path / "d.yaml"))
    assert num_read >= 6


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of what the pages take for granted: tables, pictures, settings, a simulated device."""
    folder = tmp_path_factory.mktemp("given")
    digits = SpaceSpec(name="nasbench-macro", input_size=8, in_channels=1, num_classes=10, width=0.25)
    save_table(synthetic_table(make_space(digits), scale_ns=1e8), folder / "digits.lut.json")
    table = synthetic_table(make_space(small_spec("nasbench-macro")))
    for name in ("part1.json", "other.lut.json"):
        save_table(table, folder / name)
    save_table(measured_again(table), folder / "part2.json")
    for name in ("photo.jpg", "picture.png"):
        Image.new("RGB", (40, 30), (90, 120, 30)).save(folder / name)
    settings = {
        "data": {"name": "digits", "train_images": 256},
        "space": {"width": 0.25},
        "lut": "digits.lut.json",
        "max_latency": "80%",
        "supernet": {"epochs": 1},
        "search": {"evaluations": 4},
        "retrain": {"epochs": 1},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    write_devices(folder / "devices.yaml", sim=ZEN1)
    shutil.copytree(ROOT / "docs" / "examples", folder / "docs" / "examples")
    return folder


@pytest.fixture
def prepared(given: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, which is the current folder."""
    shutil.copytree(given, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _published_table(folder: Path, benchmark_data: Path) -> None:
    shutil.copy(benchmark_data / "published_tables" / "ofa_note10_224.yaml", folder / "note10_lookup_table.yaml")


def _run(command: Command, folder: Path) -> None:
    added = next((more for beginning, more in SMALL.items() if command.begins_with(beginning)), ())
    if command.words[0] == "hwnas":
        outcome = run_cli(*command.words[1:], *added)
        code, err = outcome.code, outcome.err
    else:
        assert command.words[0] in ("python", "python3")
        done = subprocess.run(
            [sys.executable, *command.words[1:]], cwd=folder, capture_output=True, text=True, check=False
        )
        code, err = done.returncode, done.stdout + done.stderr
    assert code == 0, f"{command}: {err}"


@pytest.mark.parametrize("command", [c for c in OURS if _is_quick(c)], ids=str)
def test_quick_commands_do_what_they_say(command: Command, prepared: Path, request: pytest.FixtureRequest) -> None:
    shutil.copy("part1.json", "cpu.lut.json")
    if command.begins_with("hwnas lut import"):
        _published_table(prepared, request.getfixturevalue("benchmark_data"))
    before = {*prepared.rglob("*")}
    _run(command, prepared)
    output = [after for flag, after in zip(command.words, command.words[1:], strict=False) if flag == "-o"]
    assert {prepared / name for name in output} <= {*prepared.rglob("*")} - before


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.usefixtures("no_tvm")
@pytest.mark.parametrize("chapter", CHAPTERS, ids=" and ".join)
def test_pages_can_be_followed_from_the_first_command_to_the_last(
    chapter: tuple[str, ...], prepared: Path, request: pytest.FixtureRequest
) -> None:
    if "docs/own-network.md" not in chapter:  # its networks of tens of microseconds need all that a table has
        request.getfixturevalue("small_own_tables")
    others = [page for other in CHAPTERS if other != chapter for page in other]
    done = {c.words for c in COMMANDS if c.page in others} if "README.md" in chapter else set()
    for page in chapter:
        for command in _commands(ROOT / page):
            if _needs(command) is not None or command.words in done:
                continue
            done.add(command.words)
            if command.begins_with("hwnas lut import"):
                _published_table(prepared, request.getfixturevalue("benchmark_data"))
            if command.begins_with("hwnas compare"):
                shutil.copy("bundle/model.onnx", "other.onnx")
            _run(command, prepared)


def test_every_command_is_run_or_said_to_need_something() -> None:
    in_chapters = {page for chapter in CHAPTERS for page in chapter}
    left = [c for c in COMMANDS if c.page not in in_chapters and _needs(c) is None and not _is_quick(c)]
    assert left == []
