# SPDX-License-Identifier: Apache-2.0
"""Training: recipes, the order of samples, losses, the loop and the state that a killed run goes on from.

Everything here needs the extra `train`. The engine is torch.distributed; docs/decisions/0035 says why no other.
"""
