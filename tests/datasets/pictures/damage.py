# SPDX-License-Identifier: Apache-2.0
"""How much damage to JPEG files is noticed, and what looking for it costs:

python tests/datasets/pictures/damage.py FOLDER [photographs]

Good files of the folder, as they are, as progressive ones and with restart markers, each damaged in a seeded place.
"""

from __future__ import annotations

import io
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from facepipe.datasets.images import decode, list_keys
from facepipe.errors import DataError

END = b"\xff\xd9"
Damage = Callable[[bytes, int, random.Random], bytes]


def cut(share: float) -> Damage:
    return lambda content, data, _: content[: data + int((len(content) - data) * share)] + END


def zeros_from(share: float) -> Damage:
    return lambda content, data, _: cut(share)(content, data, _)[:-2].ljust(len(content) - 2, b"\0") + END


def noise(count: int) -> Damage:
    def damage(content: bytes, data: int, source: random.Random) -> bytes:
        at = source.randrange(data, len(content) - 2 - count)
        return content[:at] + source.randbytes(count) + content[at + count :]

    return damage


def one_bit(content: bytes, data: int, source: random.Random) -> bytes:
    at = source.randrange(data, len(content) - 2)
    return content[:at] + bytes([content[at] ^ 1 << source.randrange(8)]) + content[at + 1 :]


DAMAGE: dict[str, Damage] = {
    "ends at 20 % of its data": cut(0.2),
    "ends at 60 %": cut(0.6),
    "ends at 95 %": cut(0.95),
    "zeros from 60 % on": zeros_from(0.6),
    "512 random bytes": noise(512),
    "16 random bytes": noise(16),
    "one random byte": noise(1),
    "one bit": one_bit,
}


def saved(content: bytes, **options: int) -> bytes:
    again = io.BytesIO()
    with Image.open(io.BytesIO(content)) as image:
        image.save(again, "JPEG", quality=85, **options)
    return again.getvalue()


FORMS: dict[str, Callable[[bytes], bytes]] = {
    "as they are": bytes,
    "progressive": lambda content: saved(content, progressive=1),
    "with restarts": lambda content: saved(content, restart_marker_rows=1),
}


def is_read(content: bytes) -> bool:
    try:
        decode(content, "x")
    except DataError:
        return False
    return True


def by_pillow(content: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(content)) as image:
        return np.asarray(image.convert("RGB"))


def main() -> None:
    folder, count = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 200
    keys = [key for key in list_keys(folder) if key.lower().endswith((".jpg", ".jpeg"))]
    contents = [(folder / key).read_bytes() for key in random.Random(1).sample(keys, min(count, len(keys)))]
    print(f"| {len(contents)} photographs | {' | '.join(FORMS)} |\n|---|{'---|' * len(FORMS)}")
    forms = [[make(content) for content in contents] for make in FORMS.values()]
    assert all(is_read(content) for form in forms for content in form)
    for name, damage in DAMAGE.items():
        refused = []
        for form in forms:
            source = random.Random(name)
            damaged = [damage(content, content.index(b"\xff\xda") + 14, source) for content in form]
            refused.append(f"{sum(not is_read(content) for content in damaged) / len(form):.1%}")
        print(f"| {name} | {' | '.join(refused)} |")
    spent: dict[str, list[float]] = {"Pillow alone": [], "facepipe": []}
    for _ in range(7):
        for name, read in (("Pillow alone", by_pillow), ("facepipe", lambda content: decode(content, "x"))):
            before = time.process_time()
            for content in contents:
                read(content)
            spent[name].append((time.process_time() - before) / len(contents) * 1e6)
    print({name: f"{min(values):.0f} us a photograph" for name, values in spent.items()})


if __name__ == "__main__":
    main()
