"""Configuration from YAML and flags."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwnas import recipes
from hwnas.config_file import config_as_yaml, differing_settings, load_config
from hwnas.errors import RequestError
from hwnas.quantities import Budget, parse_ms
from hwnas.settings import parse_setting
from search_spaces import registry


def _write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "c.yaml"
    path.write_text(text)
    return path


def test_networks_are_known_by_one_ending() -> None:
    assert recipes.NETWORK_SUFFIX == registry.NETWORK_SUFFIX


def test_flags_override_the_file(tmp_path: Path) -> None:
    path = _write(tmp_path, "{max_latency: 20ms, supernet: {epochs: 3}, space: {name: fbnet-s}}")
    config = load_config(path, {"supernet.epochs": 5, "seed": 7})
    assert (config.max_latency, config.supernet.epochs, config.space.name, config.seed) == ("20ms", 5, "fbnet-s", 7)


def test_resolved_yaml_gives_the_same_configuration(tmp_path: Path) -> None:
    config = load_config(None, {"max_latency": "1.5s", "retrain.inherit": True, "lut": Path("t.json")})
    again = load_config(_write(tmp_path, config_as_yaml(config)), {})
    assert again == config
    assert differing_settings(config, again) == []
    assert differing_settings(config, load_config(None, {"max_latency": "3ms", "seed": 1})) == [
        "lut",
        "max_latency",
        "retrain.inherit",
        "seed",
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{max_latency: 1ms, supernet: {epoch: 3}}", "unknown key 'supernet.epoch'; did you mean 'epochs'"),
        ("{max_latency: 1ms, data: {augmentation: {cutot: 3}}}", "'data.augmentation.cutot'; did you mean 'cutout'"),
        ("{max_latency: 1ms, suprnet: {}}", "unknown key 'suprnet'; did you mean 'supernet'"),
        ("{max_latency: 1ms, supernet: {epochs: many}}", "supernet.epochs: .*valid integer.* got 'many'"),
        ("{max_latency: 1ms, supernet: 3}", "supernet: .*got 3"),
        ("{max_latency: 1ms, data: {train_portion: 1.5}}", "data.train_portion: .*less than 1, got 1.5"),
        ("{max_latency: fast}", "max_latency: expected a duration such as 20ms"),
        ("{supernet: {epochs: 3}}", "no latency budget in .*--max-latency 20ms"),
        ("[1]", "must be a mapping"),
        ("a: [", "is not YAML"),
        ("!!python/object/apply:os.system ['true']", "is not YAML"),
    ],
)
def test_wrong_files_are_explained(text: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=words):
        load_config(_write(tmp_path, text), {})


def test_any_setting_can_be_given_by_name() -> None:
    texts = ["retrain.ema_decay=0.99", "data.augmentation={flip: true}", "budgets=[5ms, 40%]", "max_latency=20ms"]
    config = load_config(None, dict(map(parse_setting, texts)))
    assert (config.retrain.ema_decay, config.max_latency, config.budgets) == (0.99, "20ms", ("5ms", "40%"))
    assert config.data.augmentation is not None and config.data.augmentation.flip


@pytest.mark.parametrize("text", ["seed", "=3", "seed=", "a=[", "a=!!python/name:os.system"])
def test_a_setting_without_name_or_value_is_refused(text: str) -> None:
    with pytest.raises(RequestError, match="--set"):
        parse_setting(text)


def test_what_may_be_absent_can_be_taken_away(tmp_path: Path) -> None:
    path = _write(tmp_path, "{max_latency: 1ms, max_params: 3M, search: {confidence: 0.9}}")
    names = ("supernet.clip_norm", "max_params", "search.confidence", "lut")
    for value in ("null", "~"):
        config = load_config(path, dict(parse_setting(f"{name}={value}") for name in names))
        assert config.supernet.clip_norm is config.max_params is config.search.confidence is config.lut is None
        with pytest.raises(RequestError, match=r"seed: .*valid integer"):
            load_config(path, dict([parse_setting(f"seed={value}")]))


def test_the_home_folder_stands_for_its_sign_in_every_path_and_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    names = {"lut", "out", "devices", "task", "data.root", "data.name", "space.name", "search.agent"}
    names |= {"search.evaluator", "supernet.strategy", "supernet.criterion", "retrain.criterion"}
    for config in (
        load_config(None, {"max_latency": "1ms"} | {name: f"~/{name}" for name in names}),
        load_config(None, {"max_latency": "1ms"} | dict(parse_setting(f"{name}=~/{name}") for name in names)),
    ):
        saved = config_as_yaml(config)
        assert saved.count("/home/me/") == len(names) and "~" not in saved
    with pytest.raises(RequestError, match="no home folder is known for '~nobody-at-all'"):
        load_config(None, {"max_latency": "1ms", "out": "~nobody-at-all/x"})


def test_flags_do_not_hide_a_wrong_section(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"supernet: .*got 3"):
        load_config(_write(tmp_path, "{max_latency: 1ms, supernet: 3}"), {"supernet.epochs": 2})


def test_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"cannot read .*none\.yaml"):
        load_config(tmp_path / "none.yaml", {})


@pytest.mark.parametrize(
    ("text", "expected"),
    [("20ms", 20), ("0.5 s", 500), ("800us", 0.8), ("800µs", 0.8), (".5MS", 0.5), ("1e-3s", 1)],
)
def test_durations(text: str, expected: float) -> None:
    assert parse_ms(text) == pytest.approx(expected)


@given(text=st.text(max_size=12))
def test_any_other_text_is_refused_or_positive(text: str) -> None:
    try:
        assert parse_ms(text) > 0
    except ValueError as error:
        assert "duration" in str(error)


@pytest.mark.parametrize("text", ["2", 2, " 2.5 ", 2.5, ".5", "1e-3", 1e-3])
def test_a_duration_without_a_unit_is_refused_with_the_likely_one(text: str | float) -> None:
    with pytest.raises(ValueError, match=rf"a duration such as 20ms.*did you mean {str(text).strip()}ms\?"):
        parse_ms(text)
    with pytest.raises(RequestError, match="did you mean"):
        load_config(None, {"max_latency": "20ms", "budgets": [text]})


def test_a_share_of_the_slowest_is_a_budget_too() -> None:
    assert Budget.parse("60 %").resolve_ms(whole_ms=5.0) == pytest.approx(3.0)
    assert Budget.parse("20ms").resolve_ms(whole_ms=5.0) == 20
    assert Budget.parse("100%").share == 1
    for wrong in ("0%", "100.1%", "-3%", "%"):
        with pytest.raises(ValueError, match=r"share"):
            Budget.parse(wrong)
