# SPDX-License-Identifier: Apache-2.0
"""From embeddings to answers: the run's files, accuracy, drawings. Knows no network and no back end."""
