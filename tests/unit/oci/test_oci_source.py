from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oci_sample import MAIN_PY, SERVICE_TOML, manifest_of, write_folder

from fita.model.platform import Platform
from fita.oci.build.source import parse_service_platform, read_source
from fita.oci.errors import ServiceBuildError


def refusal(folder: Path, toml: str) -> ServiceBuildError:
    with pytest.raises(ServiceBuildError) as caught:
        read_source(write_folder(folder, toml))
    return caught.value


def test_reads_what_the_folder_declares(tmp_path: Path) -> None:
    source = read_source(write_folder(tmp_path))
    assert source.manifest == manifest_of()
    assert source.code == MAIN_PY
    assert source.platforms == ()


def test_reads_every_key(tmp_path: Path) -> None:
    toml = """\
name = "lamp"
version = 0
memory = 4000
api = 1
platforms = ["micropython/x64/v6"]
data_model = ["lwm2m:urn:oma:lwm2m:ext:3311"]
[[inputs]]
key = "level"
type = "integer"
"""
    source = read_source(write_folder(tmp_path, toml))
    assert source.manifest.memory_bytes == 4000
    assert source.manifest.data_model == ("lwm2m:urn:oma:lwm2m:ext:3311",)
    assert [(port.key, int(port.type)) for port in source.manifest.inputs] == [("level", 0)]
    assert source.platforms == (Platform("micropython", "x64", "v6"),)


@pytest.mark.parametrize(
    ("change", "line", "says", "hint"),
    [
        (("version = 3", "version = "), 2, "is not TOML", "toml.io"),
        (("memory", "memroy"), 3, "'memroy' is not known", "did you mean 'memory'?"),
        (("memory", "colour"), 3, "'colour' is not known", "known are name, version"),
        (("unit", "untit"), 10, "'untit' is not known", "did you mean 'unit'?"),
        (("version = 3", 'version = "3"'), 2, "version: Expected `int`", "whole number"),
        (("version = 3", "version = -1"), 2, "version: ", "whole number"),
        (("version = 3\n", ""), 0, "toml: Object missing required field `version`", "name and version"),
        (('"average"\nversion', '"Average"\nversion'), 1, "name: ", "lower-case"),
        (('"8Ki"', '"8KB"'), 3, "memory: '8KB' is not a Kubernetes quantity", "128Ki"),
        (('"8Ki"', '"-1"'), 3, "memory: ", "8Ki"),
        (('"8Ki"', '"1e99"'), 3, "is not between 0 and 1Gi", "8Ki"),
        (('"8Ki"', "8.5"), 3, "memory: ", "8Ki"),
        (('"float"', '"double"'), 8, "outputs[0].type: ", '"integer" or "float"'),
        (('type = "float"\n', ""), 6, "missing required field `type`", "[[outputs]]"),
        (('key = "average"', 'key = "an average"'), 7, "outputs[0].key: ", "underscores"),
        (("3303/x/5700", "3303/5700"), 9, "outputs[0].data_model_mapping: ", "lwm2m:3303/x/5700"),
        (("[[outputs]]", "[outputs]"), 6, "outputs: ", "[[outputs]]"),
        (('["temperature_sensor"]', '"temperature_sensor"'), 4, "sensors: ", "list"),
        (('["temperature_sensor"]', '["temperature;x"]'), 4, "sensors", "list"),
        (("memory", "api = 2\nmemory"), 3, "newest service API is 1", "newer FITA"),
        (("memory", 'platforms = ["linux/amd64"]\nmemory'), 3, "cannot be compiled for linux/amd64", "armv7em"),
    ],
)
def test_names_file_line_and_remedy_of_what_is_wrong(
    tmp_path: Path, change: tuple[str, str], line: int, says: str, hint: str
) -> None:
    assert change[0] in SERVICE_TOML
    error = refusal(tmp_path, SERVICE_TOML.replace(*change, 1))
    assert (error.path, error.line) == (tmp_path / "service.toml", line)
    assert says in error.message
    assert hint in error.hint


def test_finds_the_line_in_the_right_table(tmp_path: Path) -> None:
    second = '\n[[outputs]]\nkey = "lowest"\ntype = 1\n'
    assert refusal(tmp_path, SERVICE_TOML + second).line == 14
    twice = '\n[[outputs]]\nkey = "average"\ntype = "integer"\n'
    error = refusal(tmp_path, SERVICE_TOML + twice)
    assert (error.line, error.hint) == (13, "give each its own key")


def test_refuses_more_ports_than_a_package_has_room_for(tmp_path: Path) -> None:
    ports = "".join(f'\n[[inputs]]\nkey = "input_with_a_long_name_{n}"\ntype = "float"\n' for n in range(40))
    assert "has room for" in refusal(tmp_path, SERVICE_TOML + ports).message


def test_names_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(ServiceBuildError, match=r"service\.toml: there is no such file"):
        read_source(tmp_path / "nowhere")
    write_folder(tmp_path)
    (tmp_path / "main.py").unlink()
    with pytest.raises(ServiceBuildError, match=r"main\.py: there is no such file"):
        read_source(tmp_path)


def test_refuses_what_is_not_text_or_too_large(tmp_path: Path) -> None:
    write_folder(tmp_path)
    (tmp_path / "main.py").write_bytes(b"x = 1\ny = '\xff'\n")
    with pytest.raises(ServiceBuildError, match="is not UTF-8") as caught:
        read_source(tmp_path)
    assert caught.value.line == 2
    (tmp_path / "main.py").write_bytes(b"#" * (1024 * 1024 + 1))
    with pytest.raises(ServiceBuildError, match="larger than"):
        read_source(tmp_path)


@pytest.mark.parametrize(
    "text", ["micropython/any", "micropython/any/v5", "micropython/mips/v6", "", "zephyr/arm/v7"]
)
def test_refuses_platforms_that_the_compiler_does_not_know(text: str) -> None:
    with pytest.raises(ServiceBuildError) as caught:
        parse_service_platform(Path("service.toml"), text)
    assert "micropython/" in caught.value.hint


@given(st.text(max_size=60) | st.text(alphabet='name="a1[]{}\n.\\', max_size=80))
@settings(max_examples=150)
def test_any_text_gets_a_named_error(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    folder = tmp_path_factory.getbasetemp() / "any-text"
    folder.mkdir(exist_ok=True)
    (folder / "service.toml").write_text(text, encoding="utf-8", newline="")
    with pytest.raises(ServiceBuildError):
        read_source(folder)
