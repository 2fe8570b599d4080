# SPDX-License-Identifier: Apache-2.0
"""What an error advises can be done: every option that it names is the command's own, every command it names parses.

Each command is called wrongly in several ways, in a folder with files of other kinds where it expects its own.
"""

from __future__ import annotations

import argparse
import importlib
import re
import shlex
from collections.abc import Sequence
from pathlib import Path

import pytest
from PIL import Image

from facepipe.cli import main
from facepipe.cli._main import COMMANDS
from facepipe.terminal.program import command_parser, leaves, options_of

WRONG = """
detect none.jpg
detect text.txt
detect empty
detect one.jpg --detector mtcn
detect one.jpg --backend onnx
detect one.jpg --precision f16
detect one.jpg --weights empty
detect one.jpg --detector retinaface.mobilenet0.25 --borders pad
detect one.jpg --draw text.txt
detect one.jpg --draw one.jpg
detect one.jpg one.jpg --draw text.txt
embed one.jpg --out new
embed none --out new
embed empty --out new
embed photos --out mine --weights empty
embed photos --out text.txt
embed photos --out new --weights empty
embed photos --out new --embedder facenet
embed photos --out new --embedder mobilefacenet.ms1m --detector ultraface.rfb-320
verify none.jpg one.jpg
verify one.jpg one.jpg --weights empty
verify one.jpg text.txt --embedder facenet.seeded
gallery build one.jpg --out new.gallery
gallery build empty --out new.gallery
gallery build photos --out text.txt
gallery build photos --out new.gallery --labels none.txt
gallery build photos --out new.gallery --weights empty
gallery build flat --out new.gallery --embedder facenet.seeded
gallery build mine --out new.gallery
gallery add none.gallery photos
gallery add text.txt photos
gallery remove text.txt Ann
gallery list empty
gallery list none.gallery
gallery search text.txt one.jpg
gallery calibrate text.txt one.jpg
gallery evaluate none
gallery evaluate empty
gallery evaluate text.txt
gallery evaluate mine
gallery import text.txt --out new.gallery --embedder facenet.seeded
recognise
recognise --input one.jpg
recognise --input none.jpg --det
recognise --input one.jpg --index none.gallery
recognise --input one.jpg --index text.txt
recognise --input one.jpg --det --detector mtcn
recognise --input one.jpg --det --weights empty
recognise --input one.jpg --det --use_gpu True
recognise --build_index new.gallery
recognise --build_index text.txt --img_dir photos --label text.txt
cluster one.jpg --out new
cluster none --out new
cluster empty --out new
cluster photos --out mine
cluster photos --out new --weights empty
lfw --data one.jpg
lfw --data none
lfw --data photos
lfw --data photos --pairs none.txt
lfw --data photos --pairs text.txt
lfw --data photos --cfp FP
lfw --data cfp
lfw --data photos --pairs elsewhere.csv
lfw --data photos --pairs pairs.csv --weights empty
lfw --data photos --pairs pairs.csv --run mine --embedder facenet.seeded
report none
report empty
report text.txt
report mine
verification none.bin
verification text.txt
verification photos
verification photos --cfp FP
verification cfp
verification photos --pairs elsewhere.csv
verification one.jpg --pack new.bin
verification photos --pairs pairs.csv --pack text.txt
wider --data none
wider --data empty
wider --data empty --detector mtcn
onnx pnett
onnx pnet --weights empty
export pnett --output new.onnx
export pnet --output text.txt
export pnet --output new.onnx --weights empty
export pnet --output new.onnx --checkpoint text.txt
fix bound_clipp text.txt new.onnx
fix bound_clip text.txt new.onnx
fix bound_clip text.txt text.txt
fix bound_clip none.onnx one.jpg
quantise facenet
quantise facenet.seeded --weights empty
quantise facenet.seeded --photographs empty
quantise facenet.seeded --photographs none
quantise facenet.seeded --photographs photos
parity
parity pnet
parity pnet --against onnx
parity pnet --against native --weights empty
parity pnet --layers --weights empty
parity --runs none empty
parity --runs mine mine
plan photos
plan none --soc Ascend310
plan empty --soc Ascend310
plan one.jpg --soc Ascend310
plan photos --soc Ascend31
plan photos --soc Ascend310P3 --cann 99x
plan photos --most-gears 1 --soc Ascend310
plan photos --min-face 1000 --soc Ascend310
plan photos --out text.txt --soc Ascend310
check none.onnx --soc Ascend310
check text.txt --soc Ascend310
check empty
check mine
check pnet --weights empty --soc Ascend310
om --soc Ascend31
om pnt --soc Ascend310
om pnet --weights empty --soc Ascend310
om --plan text.txt --soc Ascend310
om --photographs none --dry-run --soc Ascend310
om --image-sizes 10 --dry-run --soc Ascend310
om pnet --aipp --dry-run --soc Ascend310
rehearse --data none
rehearse --data photos --precision f32
rehearse --data photos --pairs pairs.csv --weights empty
stage pnet --data none
stage rnet --data photos --pairs pairs.csv --run mine --embedder facenet.seeded
stage rnet --data photos --pairs pairs.csv --run new --embedder facenet.seeded
stage score --data photos --pairs pairs.csv --run new --embedder facenet.seeded
msame --model none.onnx --output new
msame --model text.txt --output new
msame --model text.om --output new
unpack --packed none --outputs none --out new
unpack --packed empty --outputs empty --out new
unpack --packed empty --outputs empty --out mine
image2bin none new
image2bin photos mine --label text.txt
bin2image none new
bin2image empty new
bench pnet
bench pnett
bench pnet --shape 1x3x40x48 --weights empty
bench pnet --shape 1x3x40x48 --backend onnx
fetch pnett
models pnett
demo --out mine
vendor mtcnn-preprocess --model Rnet --data_dir photos
vendor facenet-preprocess --crop_dir none --save_dir new
vendor gen-dataset-info bin none text.txt 1 1
vendor batch-utils --batch_size 1 --data_root_path none --save_root_path new
vendor facenet-postprocess --crop_dir none --test_dir none --ONet_output_dir none
""".strip().splitlines()


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with one photograph, a text, and folders that are none of facepipe's."""
    for folder in ("empty", "mine", "photos/Ann", "photos/Bob", "cfp/Protocol", "flat"):
        (tmp_path / folder).mkdir(parents=True)
    for name in ("text.txt", "text.om", "mine/notes.txt"):
        (tmp_path / name).write_text("nothing of this kind\n")
    for name in ("one.jpg", "photos/Ann/a.jpg", "photos/Ann/c.jpg", "photos/Bob/b.jpg", "flat/a.jpg"):
        Image.new("RGB", (64, 48), (90, 120, 150)).save(tmp_path / name)
    (tmp_path / "pairs.csv").write_text("first,second,same,fold\nAnn/a.jpg,Bob/b.jpg,0,1\nAnn/a.jpg,Ann/c.jpg,1,2\n")
    (tmp_path / "elsewhere.csv").write_text("first,second,same\n../one.jpg,Ann/a.jpg,1\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FACEPIPE_ASSETS", raising=False)
    return tmp_path


def parsers_of(name: str) -> dict[str, argparse.ArgumentParser]:
    """The parsers of a command, by the words of its sub-commands."""
    module = importlib.import_module(COMMANDS[name][0])
    return {" ".join(words): parser for words, parser in leaves(command_parser(module, f"facepipe {name}"))}


def require_possible(message: str, words: Sequence[str]) -> None:
    """Every option that the message names is one of `words`' command; every command line in it has options of its own.

    Of another program's command line in quotation marks nothing is known.
    """
    parsers = parsers_of(words[0])
    own = options_of(parsers.get("".join(words[1:2])) or next(iter(parsers.values())))
    outside = re.findall(r"(?<![\w-])--[a-z][\w-]*", re.sub(r"`[^`]*`", "", message))
    assert [option for option in outside if option not in own] == [], message
    for command in re.findall(r"`facepipe ([^`]*)`", message):
        name, *rest = shlex.split(command)
        assert name in COMMANDS, message
        known = [option for parser in parsers_of(name).values() for option in options_of(parser)]
        assert [word for word in rest if word.startswith("--") and word not in known] == [], message


def told(words: Sequence[str], capfd: pytest.CaptureFixture[str]) -> str:
    """The one line that a command ends with."""
    assert main(words) == 1
    line = capfd.readouterr().err.splitlines()[-1]
    assert line.startswith(f"facepipe {words[0]}: ") and f"{words[0]}: {words[0]}: " not in line
    assert "Errno" not in line.partition(" (")[0]
    return line


@pytest.mark.parametrize("line", WRONG)
def test_what_an_error_advises_can_be_done(line: str, desk: Path, capfd: pytest.CaptureFixture[str]) -> None:
    words = shlex.split(line)
    require_possible(told(words, capfd), words)


@pytest.mark.weights
def test_what_is_advised_of_runs_can_be_done(
    desk: Path, sample: Path, weights_dir: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    models = ["--weights", str(weights_dir), "--embedder", "facenet.seeded"]
    images = str(sample / "images")
    assert main(["embed", images, "--out", "run", *models, "--workers", "1"]) == 0
    assert main(["gallery", "build", "run", "--out", "people.gallery", *models, "--threshold", "0.3"]) == 0
    other = [*models[:2], "--embedder", "mobilefacenet.ms1m"]
    lines = {
        ("embed", images, "--out", "run", *models, "--min-face", "40"): "was begun with min_face_px=",
        ("embed", images, "--out", "run", *models, "--faces", "all"): "was begun with",
        ("report", "run"): "is a run without pairs and accuracy, expected one of `facepipe lfw`",
        ("lfw", "--data", images, "--pairs", str(sample / "pairs.txt"), "--run", "run", *models): "was begun with",
        ("verify", "one.jpg", "one.jpg", *models): "no face",
        ("gallery", "search", "people.gallery", "text.txt", *models[:2]): "text.txt: ",
        ("gallery", "search", "people.gallery", "one.jpg", *other): "",
        ("gallery", "build", "run", "--out", "people.gallery", *models): "is there already",
        ("gallery", "evaluate", "run", "--fpir", "2"): "",
        ("recognise", "--input", "text.txt", "--index", "people.gallery", *models[:2]): "",
        ("cluster", "run", "--out", "run"): "is a run, whose files stay",
    }
    for words, expected in lines.items():
        line = told(words, capfd)
        assert expected in line, line
        require_possible(line, words)
