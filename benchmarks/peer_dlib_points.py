# SPDX-License-Identifier: Apache-2.0
"""PREDICTOR.dat PICTURES OUT.json: dlib's five points of the one face in each picture of a folder, by file name.

Runs in the environment of `peer.dlib_python`. Pictures are .npy, uint8 [H, W, 3] RGB; those where dlib's own detector
does not see exactly one face are left out.
"""

import json
import sys
from pathlib import Path

import dlib
import numpy as np

predictor_file, pictures, out = sys.argv[1:]
detector, predictor = dlib.get_frontal_face_detector(), dlib.shape_predictor(predictor_file)
found = {}
for path in sorted(Path(pictures).glob("*.npy")):
    image = np.load(path)
    faces = detector(image, 1 if min(image.shape[:2]) < 400 else 0)
    if len(faces) == 1:
        found[path.stem] = [[point.x, point.y] for point in predictor(image, faces[0]).parts()]
Path(out).write_text(json.dumps(found))
