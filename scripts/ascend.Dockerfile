# SPDX-License-Identifier: Apache-2.0
# facepipe on the vendor's CANN image, for a board: `docker build -f scripts/ascend.Dockerfile -t facepipe-ascend .`
# Written from the documents of Ascend/cann-container-image and GE docs/zh/quick_install.md; it was not built here.
# CANN: a tag of quay.io/ascend/cann for your chip and host, as 8.5.0-310p-ubuntu22.04-py3.11.
ARG CANN=8.5.0-310p-ubuntu22.04-py3.11
FROM quay.io/ascend/cann:${CANN}
WORKDIR /facepipe
COPY . .
RUN python3 -m pip install --no-cache-dir -c constraints.txt '.[ort]' onnx
# The image's own profile sources set_env.sh in login shells alone.
SHELL ["/bin/bash", "-lc"]
ENTRYPOINT ["/bin/bash", "-lc", "exec facepipe \"$@\"", "facepipe"]
