# SPDX-License-Identifier: Apache-2.0
"""A plan of gears in lines for a terminal."""

from __future__ import annotations

from facepipe.catalogue import detector_models
from facepipe.convert.ascend.plan import Plan


def plan_summary(plan: Plan, batch: int, soc: str, ranges: bool) -> list[str]:
    """What a person has to know of a plan.

    Args:
        batch: photographs of one execution.
        soc: the chip.
        ranges: whether it takes ranges of sizes too.
    """
    lines: list[str] = []
    gears, sizes = plan.gears, sorted(plan.photographs.items())
    few = ", ".join(f"{height}x{width} ({count})" for (height, width), count in sizes[:6])
    total = sum(plan.photographs.values())
    lines.append(f"photographs: {total} of {len(sizes)} sizes: {few}{' ...' if len(sizes) > 6 else ''}")
    pnet, *others = detector_models("mtcnn")
    lines.append(
        f"{pnet.name}: {len(gears.assigned)} image sizes, least face {plan.min_face_px} px; {len(gears.gears)} gears"
    )
    lines.append("  " + " ".join(f"{height}x{width}" for height, width in gears.gears))
    if gears.padded:
        odd = sum(height % 2 or width % 2 for height, width in gears.padded)
        lines.append(
            f"  {len(gears.padded)} sizes are letterboxed into a larger gear: {gears.overhead:.1%} more pixels. Of "
            f"these {odd} have an odd side, whose last row or column of cells sees one line of padding."
        )
    else:
        lines.append("  every size is its own gear; nothing is padded")
    for spec in others:
        steps = ",".join(map(str, spec.atc.batch_gears))
        lines.append(f"{spec.name}: batch gears {steps}; a longer batch is cut, the rest is padded to the next gear")
    height, width = gears.gears[0]
    # float32 input, and the first layer's output as the chip holds it: half precision, channels padded to 16.
    first, second = batch * 3 * height * width * 4, batch * 16 * (height - 2) * (width - 2) * 2
    lines.append(
        f"memory: the largest gear at batch {batch} has {first / 2**20:.0f} MiB of input, and {second / 2**20:.0f} MiB"
    )
    lines.append("  after the first layer; an .om with gears holds its largest gear at all times")
    lines.append(
        f"{soc}: takes {'ranges too (--shapes range), gears are faster' if ranges else 'gears only, no ranges'}"
    )
    return lines
