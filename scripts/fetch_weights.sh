#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# fetch_weights.sh [NAME...]: put weights into weights/, digests checked; by default those of the main job.
set -eu

[ $# -gt 0 ] || set -- mtcnn facenet.vggface2
exec facepipe fetch "$@"
