# SPDX-License-Identifier: Apache-2.0
"""Which small changes of the source are tried: the operators are cosmic-ray's, the choice among them is seeded.

A *site* is a place in a file with one kind of change (another comparison, another number, ...). Sites are drawn without
looking at how many forms a change has there, of which one is drawn then: else an addition, which can become eleven
other operations, would be eleven times as likely as a loop. Left out is what no test can see: annotations, and the
switches of @dataclass.
"""

from __future__ import annotations

import ast
import random
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator, operator_names

Position = tuple[int, int]


@dataclass(frozen=True)
class Mutant:
    """One changed file.

    Attributes:
        file: below the package, as in "geometry/nms.py".
        line: where the change begins, from 1.
        kind: the operator's name.
        was, now: the lines that the change touches, without spaces around them.
        source: the whole file, changed.
    """

    file: str
    line: int
    kind: str
    was: str
    now: str
    source: str


def sample(package: Path, files: Sequence[str], count: int, seed: str) -> list[Mutant]:
    """`count` mutants of the files, or as many as there are sites; the same for the same seed and source.

    A larger sample begins with the smaller one.
    """
    drawn: list[Mutant] = []
    chance = random.Random(seed)
    sites = [(file, *site) for file in sorted(files) for site in sites_of((package / file).read_text(encoding="utf-8"))]
    chance.shuffle(sites)
    for file, _, occurrences in sites:
        if len(drawn) == count:
            break
        mutant = mutated((package / file).read_text(encoding="utf-8"), file, *chance.choice(occurrences))
        if mutant is not None:
            drawn.append(mutant)
    return drawn


def sites_of(source: str) -> Iterator[tuple[str, list[tuple[str, int]]]]:
    """Each site's kind, and the (operator, occurrence) of every form that a change has there."""
    unseen = list(_unseen(ast.parse(source)))
    tree = get_ast(source)
    nodes = list(ast_nodes(tree))
    found: dict[tuple[Position, str], list[tuple[str, int]]] = {}
    for name in sorted(operator_names()):
        operator_class = get_operator(name)
        if operator_class.arguments() or name.endswith("NoOp"):
            continue
        operator = operator_class()
        positions = [place for node in nodes for place in operator.mutation_positions(node)]
        for occurrence, (start, _) in enumerate(positions):
            if not any(low <= start < high for low, high in unseen):
                kind = name.rpartition("/")[2].partition("_")[0]
                found.setdefault((start, kind), []).append((name, occurrence))
    for (_, kind), occurrences in sorted(found.items()):
        yield kind, occurrences


def mutated(source: str, file: str, name: str, occurrence: int) -> Mutant | None:
    """The file with that one change; None where it is the same, no Python any more, or what Python itself warns of
    (`is` with a number), which every test would notice."""
    changed = mutate_code(source, get_operator(name)(), occurrence)
    if changed is None or changed == source:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            compile(changed, file, "exec")
    except (SyntaxError, SyntaxWarning):
        return None
    old, new = source.splitlines(), changed.splitlines()
    first = next(i for i, (a, b) in enumerate(zip(old, new, strict=False)) if a != b)
    ends = 0
    while ends < min(len(old), len(new)) - first - 1 and old[-1 - ends] == new[-1 - ends]:
        ends += 1
    was, now = (" ".join(line.strip() for line in lines[first : len(lines) - ends]) for lines in (old, new))
    return Mutant(file, first + 1, name.rpartition("/")[2], was, now, changed)


def _unseen(tree: ast.AST) -> Iterator[tuple[Position, Position]]:
    """Spans of annotations and of the decorators of data classes."""
    for node in ast.walk(tree):
        spans: list[ast.expr | None] = []
        if isinstance(node, ast.arg | ast.AnnAssign):
            spans.append(node.annotation)
        if isinstance(node, ast.FunctionDef):
            spans.append(node.returns)
        if isinstance(node, ast.ClassDef):
            spans += [entry for entry in node.decorator_list if "dataclass" in ast.unparse(entry)]
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.BinOp) and _is_union_of_types(node.value):
            spans.append(node.value)
        for span in spans:
            if span is not None:
                # The decorator's own "@" stands one column before it.
                yield (span.lineno, max(0, span.col_offset - 1)), (span.end_lineno or 0, span.end_col_offset or 0)


def _is_union_of_types(node: ast.expr) -> bool:
    """Whether an assigned value is an alias like `str | Path`: names of classes alone, joined by bars."""
    if isinstance(node, ast.BinOp):
        return isinstance(node.op, ast.BitOr) and _is_union_of_types(node.left) and _is_union_of_types(node.right)
    return (isinstance(node, ast.Name) and (node.id[0].isupper() or node.id in ("str", "int", "float", "bytes"))) or (
        isinstance(node, ast.Attribute | ast.Subscript)
    )
