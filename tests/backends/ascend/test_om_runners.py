# SPDX-License-Identifier: Apache-2.0
"""The back ends `msame` and `ais_bench` against stand-ins that have the programs' documented traps."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import om_files
import pytest
from om_files import IMAGE_GEARS, OmFiles, pixels, reference, write_sidecar
from small_networks import EMBEDDER, PNET, RNET
from stand_ins import MODULES, stand_in

from facepipe.backends import backend_by_name
from facepipe.backends.ascend.ais_bench import AisBench
from facepipe.backends.ascend.msame import Msame
from facepipe.backends.ascend.om import OmShapes
from facepipe.backends.base import RuntimeOptions, open_session
from facepipe.backends.timing import LOOPS, time_session
from facepipe.errors import BackendError, StageError, TensorError
from facepipe.store.files import sidecar_of
from facepipe.store.made_from import read_record, write_record
from facepipe.store.model_content import read_model

RUNNERS = ("msame", "ais_bench")


def tuples(gears: list[list[int]]) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(gear) for gear in gears)


@pytest.fixture(scope="module")
def oms(tmp_path_factory: pytest.TempPathFactory) -> OmFiles:
    files = om_files.make(tmp_path_factory.mktemp("oms"))
    write_sidecar(files.pnet, PNET, OmShapes("image", tuples(IMAGE_GEARS)))
    write_sidecar(files.rnet, RNET, OmShapes("batch", tuples(om_files.BATCH_GEARS)))
    write_sidecar(files.embedder, EMBEDDER, OmShapes("static", ((4, 3, 6, 6),)))
    write_sidecar(files.embedder_aipp, EMBEDDER, OmShapes("static", ((4, 3, 6, 6),)), aipp=True)
    return files


@pytest.fixture(autouse=True)
def board(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The stand-ins, and a folder for temporary files that must be empty afterwards."""
    stand_in(monkeypatch)
    monkeypatch.syspath_prepend(str(MODULES))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


@pytest.mark.parametrize("name", RUNNERS)
def test_image_gears_are_named_and_their_outputs_cut(name: str, oms: OmFiles, tmp_path: Path) -> None:
    with open_session(backend_by_name(name), PNET, oms.pnet) as session:
        for rows, height, width in ((5, 14, 14), (1, 27, 27)):
            image = pixels(rows, rows, 3, height, width)
            for found, wanted in zip(session.run(image), reference(oms.pnet.parent / "pnet.onnx", image), strict=True):
                np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)
        with pytest.raises(TensorError, match="no gear for 3x15x15"):
            session.run(pixels(0, 1, 3, 15, 15))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", RUNNERS)
def test_a_long_batch_is_one_call_for_each_gear(name: str, oms: OmFiles) -> None:
    image = pixels(3, 91, 3, 24, 24)  # eleven files of 8: as text, 10 would stand before 2
    with open_session(backend_by_name(name), RNET, oms.rnet) as session:
        found = session.run(image)
    for array, wanted in zip(found, reference(oms.rnet.parent / "rnet.onnx", image), strict=True):
        np.testing.assert_allclose(array, wanted, rtol=1e-5, atol=1e-6)


def test_the_runners_own_figures_are_read_and_not_the_process(oms: OmFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    # The stand-in msame says 9 ms for its first execution, then 1.125, 1.25, ...; ais_bench writes a summary.
    for path in (oms.embedder, oms.embedder_aipp):
        with open_session(backend_by_name("msame"), EMBEDDER, path) as session:
            latency = time_session(session, (4, 3, 6, 6))
    assert latency.calls == LOOPS == 20 and latency.stages is not None and latency.stages.copy_in is None
    assert latency.median_ms == pytest.approx(1 + 10.5 / 8, abs=1e-3) and latency.least_ms == 1.125
    with open_session(backend_by_name("ais_bench"), RNET, oms.rnet) as session:
        latency = time_session(session, (8, 3, 24, 24))
        assert latency.in_words(8) == "  the execution alone; copies in 0.250, out 0.250 ms; 0.1250 ms a row"
        with pytest.raises(BackendError, match=r"not compiled for 7x3x24x24.*--shapes static"):
            time_session(session, (7, 3, 24, 24))
        monkeypatch.setenv("FAKE_AIS_BENCH", "silent")
        with pytest.raises(BackendError, match=r"result_summary\.json tells no times"):
            time_session(session, (8, 3, 24, 24))
    monkeypatch.setenv("FAKE_MSAME", "fails")
    with (
        open_session(backend_by_name("msame"), RNET, oms.rnet) as session,
        pytest.raises(BackendError, match="msame"),
    ):
        time_session(session, (8, 3, 24, 24))


@pytest.mark.parametrize("name", RUNNERS)
def test_a_static_model_and_one_with_aipp(name: str, oms: OmFiles) -> None:
    image = pixels(2, 6, 3, 6, 6)
    (wanted,) = reference(oms.embedder.parent / "small.embedder.onnx", image)
    for path in (oms.embedder, oms.embedder_aipp):
        with open_session(backend_by_name(name), EMBEDDER, path) as session:
            assert session.fixed_batch is None
            np.testing.assert_allclose(session.run(image)[0], wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", RUNNERS)
def test_a_range(name: str, oms: OmFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_SOC", "Ascend310P3")
    image = pixels(7, 5, 3, 18, 21)
    with open_session(backend_by_name(name), PNET, oms.pnet_range) as session:
        for found, wanted in zip(session.run(image), reference(oms.pnet.parent / "pnet.onnx", image), strict=True):
            np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)
        with pytest.raises(TensorError, match="input is"):
            session.run(pixels(0, 1, 3, 41, 12))


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ("silent", r"msame: it reported success and left no 000000_output_0\.bin"),
        ("arguments", r"exit status 0, and it did not print 'Execute sample success'.*something about the arguments"),
        ("killed", r"msame: it was ended by SIGKILL.*Try: run it again"),
        ("fails", r"msame: exit status 1\. Last lines: .*failed"),
        ("half", r"000001_output_0\.bin has 64 bytes, expected 128 of float32 \[8, 4\]"),
    ],
)
def test_msames_failures_are_one_error_and_the_next_call_works(
    told: str, message: str, oms: OmFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = pixels(1, 16, 3, 24, 24)
    with open_session(Msame(), RNET, oms.rnet) as session:
        monkeypatch.setenv("FAKE_MSAME", told)
        with pytest.raises(BackendError, match=message):
            session.run(image)
        monkeypatch.delenv("FAKE_MSAME")
        if told == "killed":
            assert len(session.run(image)[0]) == 16
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ("silent", r"ais_bench: exit status 0, and .*result has no results"),
        ("killed", r"ais_bench: it was ended by SIGKILL"),
        ("version", r"ais_bench: exit status 1\. Last lines: \[ERROR\] aclruntime version is not match"),
    ],
)
def test_ais_benchs_failures_are_one_error(
    told: str, message: str, oms: OmFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_AIS_BENCH", told)
    with open_session(AisBench(), RNET, oms.rnet) as session, pytest.raises(BackendError, match=message):
        session.run(pixels(1, 2, 3, 24, 24))


@pytest.mark.parametrize("name", RUNNERS)
def test_a_device_that_does_not_exist_is_one_error(name: str, oms: OmFiles) -> None:
    backend = backend_by_name(name, RuntimeOptions(device=5))
    with open_session(backend, RNET, oms.rnet) as session, pytest.raises(BackendError, match="507033"):
        session.run(pixels(0, 1, 3, 24, 24))


@pytest.mark.parametrize("name", RUNNERS)
def test_an_om_of_another_chip_is_one_error(name: str, oms: OmFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_SOC", "Ascend310P3")
    with open_session(backend_by_name(name), RNET, oms.rnet) as session, pytest.raises(BackendError, match="545001"):
        session.run(pixels(0, 1, 3, 24, 24))


@pytest.mark.parametrize("name", RUNNERS)
def test_an_om_without_a_sidecar_or_of_another_model_is_refused_before_anything_runs(
    name: str, oms: OmFiles, tmp_path: Path
) -> None:
    alone = tmp_path / "rnet.Ascend310.om"
    alone.write_bytes(oms.rnet.read_bytes())
    with pytest.raises(BackendError, match=rf"it has no sidecar rnet\.Ascend310\.om\.json, and '{name}' cannot ask"):
        backend_by_name(name).load(RNET, read_model(alone))
    sidecar_of(alone).write_text(sidecar_of(oms.pnet).read_text())
    with pytest.raises(StageError, match="its record says"):
        read_model(alone)
    of_pnet = read_record(oms.pnet)
    assert of_pnet is not None
    sidecar_of(alone).unlink()
    write_record(alone, "pnet", of_pnet.made_from, of_pnet.facts, again="make om")
    with pytest.raises(BackendError, match="was compiled from pnet, expected rnet"):
        backend_by_name(name).load(RNET, read_model(alone))
    wrong = tmp_path / "pnet.bs16.Ascend310.om"
    wrong.write_bytes(oms.pnet.read_bytes())
    sidecar_of(wrong).write_text(sidecar_of(oms.pnet).read_text())
    with pytest.raises(BackendError, match="its name says batch 16, it was compiled for batch 2"):
        backend_by_name(name).load(PNET, read_model(wrong))


@pytest.mark.parametrize("name", RUNNERS)
def test_a_whole_folder_of_bins_goes_through_one_process(name: str, oms: OmFiles, tmp_path: Path) -> None:
    inputs, outputs = tmp_path / "in", tmp_path / "out"
    inputs.mkdir()
    outputs.mkdir()
    image = pixels(5, 8, 3, 6, 6)
    for number in range(2):
        (inputs / f"{number:06d}.bin").write_bytes(image[4 * number : 4 * number + 4].tobytes())
    runner = Msame() if name == "msame" else AisBench()
    said: list[str] = []
    made = runner.run_folder(oms.embedder, inputs, outputs, said.append)
    assert sorted(path.name for path in made.iterdir()) == ["000000_output_0.bin", "000001_output_0.bin"]
    rows = np.concatenate([np.fromfile(path, "<f4").reshape(4, 5) for path in sorted(made.iterdir())])
    np.testing.assert_allclose(rows, reference(oms.embedder.parent / "small.embedder.onnx", image)[0], rtol=1e-5)
    assert said == [f"{name}: {oms.embedder} over {inputs}"]


def test_a_folder_for_temporary_files_that_msame_takes_for_a_file_is_refused(
    oms: OmFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.bin.d").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "a.bin.d"))
    with (
        open_session(Msame(), RNET, oms.rnet) as session,
        pytest.raises(BackendError, match=r"has '\.bin' in its name"),
    ):
        session.run(pixels(0, 1, 3, 24, 24))


@pytest.mark.parametrize("name", RUNNERS)
def test_an_absent_program_says_where_it_comes_from(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    reason = backend_by_name(name).why_unavailable()
    assert reason is not None and "github.com/Ascend/tools" in reason
