# SPDX-License-Identifier: Apache-2.0
"""Every name that facepipe exports, in one program: python tour.py lfw/ out/, with lfw/images/ and lfw/pairs.txt."""

import sys
from collections.abc import Sequence
from pathlib import Path

import facepipe
from facepipe import Detections, EmbeddedFace, Face, Gallery, Killed, NoFace, PhotographLike, PictureFaces, Unread

ERRORS: dict[type[facepipe.FacepipeError], str] = {
    facepipe.AssetError: "a file has to be fetched",
    facepipe.WeightsError: "a weight file is another",
    facepipe.TensorError: "an array does not fit the model",
    facepipe.ConversionError: "a conversion moved the outputs",
    facepipe.BackendError: "what executes networks is not here",
    facepipe.StageError: "a folder holds another run",
    facepipe.UnsealedError: "all but some photographs",
    facepipe.DataError: "a file or an option is wrong",
}


def said(answer: Detections | EmbeddedFace | PictureFaces | Face | NoFace | Unread | Killed) -> str:
    match answer:
        case Unread(reason=reason) | NoFace(reason=reason):
            return reason
        case Killed(how=how):
            return how
        case Face(box=box) | EmbeddedFace(face=Face(box=box)):
            return f"a face at {box.round().tolist()}"
        case Detections() | PictureFaces(faces=()):
            return "faces, perhaps none"
    return f"{len(answer.faces)} faces"


def look(faces: facepipe.Faces, photograph: PhotographLike, others: Sequence[PhotographLike]) -> facepipe.Verdict:
    pipeline: facepipe.FacePipeline = faces.pipeline
    print(pipeline.model, said(faces.detect(photograph)), said(faces.embed(photograph)), len(faces.embed_all(others)))
    cut: facepipe.PictureCrops | Unread = faces.crops(photograph)
    if isinstance(cut, facepipe.PictureCrops):
        crops: tuple[facepipe.CutFace, ...] = cut.faces
        print(pipeline.embed(one.crop for one in crops).shape)
    print(faces.note, faces.distance(photograph, others[0]))
    return faces.verify(photograph, others[0], threshold=0.4)


def names(faces: facepipe.Faces, photograph: PhotographLike, gallery: Gallery) -> list[str]:
    found: facepipe.NamedPhotograph | Unread = faces.identify(photograph, gallery)
    named: tuple[facepipe.NamedFace, ...] = () if isinstance(found, Unread) else found.faces
    return [face.answer.text for face in named if face.answer is not None]


def main(folder: Path, out: Path) -> None:
    models = facepipe.Models(embedder="mobilefacenet.ms1m", min_face=40)
    print(facepipe.__version__, list(facepipe.convert_models(models.embedder or "")))
    print(facepipe.embed_folder(folder / "images", out / "run", models).written)
    print(facepipe.run_lfw(out / "lfw", models, data=folder, unread="skip")["pairs"])
    facepipe.enrol(folder / "images", out / "people.gallery", models, threshold=0.4)
    print(facepipe.recognise(folder / "images", out / "people.gallery", out / "named", models).known)
    photographs = sorted((folder / "images").rglob("*.jpg"))
    with facepipe.load(embedder=models.embedder, min_face=40) as faces:
        print(look(faces, photographs[0], [photographs[1].read_bytes(), "gone.jpg"]).same)
        print(names(faces, photographs[0], facepipe.read_gallery(out / "people.gallery")))
    print(facepipe.run_wider(out / "wider", facepipe.Models("ultraface.rfb-320"))["ap"])


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), Path(sys.argv[2]))
    except facepipe.FacepipeError as error:
        sys.exit(f"{ERRORS[type(error)]}: {error}")
