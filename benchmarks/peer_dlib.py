# SPDX-License-Identifier: Apache-2.0
"""WEIGHTS.dat CROPS.npy OUT.npy: dlib's own answers, float32 [N, 128], for crops uint8 [N, 150, 150, 3] RGB.

Runs in the environment of `peer.dlib_python`, which has dlib and no facepipe.
"""

import sys

import dlib
import numpy as np

weights, crops, out = sys.argv[1:]
recogniser = dlib.face_recognition_model_v1(weights)
answers = [recogniser.compute_face_descriptor(np.ascontiguousarray(crop)) for crop in np.load(crops)]
np.save(out, np.asarray(answers, np.float32))
