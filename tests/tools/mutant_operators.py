"""Small faults of a source file: the operators of mutmut and what they do not plant.

mutmut's own runner leaves out decorated functions (every property and ``lru_cache`` here),
fields of dataclasses and tables of a module, so only its operators are taken. Added are faults
that broke this project before or that mutmut has no operator for: an element that is left out of
a key, a condition that always holds, one side of an ``and`` that is forgotten, a level that is
halved, a statement that is missing, ``max`` for ``min``.

Not mutated: annotations, docstrings, decorators, imports, names of types, and what a ``raise``
says (tests of messages hold that); a ``raise`` that is missing is planted.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import libcst as cst
from libcst.metadata import CodeRange, MetadataWrapper, WhitespaceInclusivePositionProvider
from mutmut.mutation.mutators import mutation_operators

SWAPPED = {
    "min": "max",
    "max": "min",
    "any": "all",
    "all": "any",
    "minimum": "maximum",
    "maximum": "minimum",
    "sf": "cdf",
    "cdf": "sf",
    "zeros_like": "ones_like",
    "ones_like": "zeros_like",
    "zeros": "ones",
    "ones": "zeros",
    "intersection": "union",
    "union": "intersection",
}
UNWRAPPED = ("abs", "sorted", "max", "min", "maximum", "minimum", "clip")
TYPE_NAME = re.compile(r"_?[A-Z][a-z]\w*")
Change = tuple[cst.CSTNode, cst.CSTNode]


@dataclass(frozen=True)
class Mutant:
    """One fault in one file.

    Attributes:
        file: path from the root of the repository. where: the function, or ``<module>``.
        line: first line that changed.
        before, after: the lines that changed, stripped and joined.
        source: the whole file with the fault.
    """

    file: str
    where: str
    line: int
    before: str
    after: str
    source: str

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What it is, wherever in the file it stands."""
        return self.file, self.where, self.before, self.after


def mutants_of(root: Path, file: str) -> list[Mutant]:
    """Every mutant of a file that is another program than the file and than the others."""
    text = (root / file).read_text()
    wrapper = MetadataWrapper(cst.parse_module(text), unsafe_skip_copy=True)
    places = wrapper.resolve(WhitespaceInclusivePositionProvider)
    visitor = _Visitor()
    wrapper.module.visit(visitor)
    seen = {ast.dump(ast.parse(text))}
    found: list[Mutant] = []
    for where, old, new in visitor.found:
        line, before, after, source = _spliced(text, places[old], wrapper.module.code_for_node(new))
        try:
            dump = ast.dump(ast.parse(source))
        except SyntaxError:
            continue
        if dump not in seen:
            seen.add(dump)
            found.append(Mutant(file, where, line, before, after, source))
    return found


def _spliced(text: str, place: CodeRange, code: str) -> tuple[int, str, str, str]:
    """First line that changes, the changed lines before and after, and the whole file."""
    lines = text.splitlines(keepends=True)
    start, end = place.start, place.end
    old = lines[start.line - 1 : end.line]
    new = f"{old[0][: start.column]}{code}{old[-1][end.column :]}".splitlines(keepends=True)
    source = "".join([*lines[: start.line - 1], *new, *lines[end.line :]])
    line = start.line
    while old and new and old[0].strip() == new[0].strip():
        old, new, line = old[1:], new[1:], line + 1
    while old and new and old[-1].strip() == new[-1].strip():
        old, new = old[:-1], new[:-1]
    before, after = (" ".join(part.strip() for part in side) for side in (old, new))
    return line, before, after, source


class _Visitor(cst.CSTVisitor):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, cst.CSTNode, cst.CSTNode]] = []
        self.names: list[str] = []
        self.parents: list[cst.CSTNode] = []

    def on_visit(self, node: cst.CSTNode) -> bool:
        if _is_left_out(node, self.parents):
            return False
        if isinstance(node, cst.FunctionDef | cst.ClassDef):
            self.names.append(node.name.value)
        where = ".".join(self.names) or "<module>"
        self.found += [(where, old, new) for old, new in _others(node, self.parents)]
        self.parents.append(node)
        return not isinstance(node, cst.Raise)

    def on_leave(self, original_node: cst.CSTNode) -> None:
        if self.parents and self.parents[-1] is original_node:
            self.parents.pop()
            if isinstance(original_node, cst.FunctionDef | cst.ClassDef):
                self.names.pop()


def _is_left_out(node: cst.CSTNode, parents: Sequence[cst.CSTNode]) -> bool:
    if isinstance(node, cst.Annotation | cst.Decorator | cst.Import | cst.ImportFrom):
        return True
    if isinstance(node, cst.Expr) and isinstance(node.value, cst.BaseString):
        return True
    is_top = len(parents) == 2  # module, line
    if is_top and isinstance(node, cst.Assign) and isinstance(node.value, cst.Subscript):
        target = node.targets[0].target
        return isinstance(target, cst.Name) and bool(TYPE_NAME.fullmatch(target.value))
    return isinstance(node, cst.AssignTarget)


def _others(node: cst.CSTNode, parents: Sequence[cst.CSTNode]) -> Iterator[Change]:
    """What may stand in the place of a node."""
    if isinstance(node, cst.If):  # its condition always, or never, holds
        yield from ((node.test, _bracketed(cst.Name(word))) for word in ("True", "False"))
    for kind, operator in mutation_operators:
        if isinstance(node, kind):
            made = [other for other in operator(node) if other is not node]
            # of a string only the one that is longer: upper and lower case say the same
            made = made[:1] if isinstance(node, cst.BaseString) else made
            yield from ((node, other) for other in made)
    for kinds, added in ADDED:
        if isinstance(node, kinds):
            yield from ((node, other) for other in added(node, parents))


def _left_out(node: Any, _: Sequence[cst.CSTNode]) -> Iterator[cst.CSTNode]:
    """A literal without one of its elements."""
    for at in range(len(node.elements)):
        rest = [element for i, element in enumerate(node.elements) if i != at]
        if rest or not isinstance(node, cst.Set):
            yield node.with_changes(elements=rest)


def _unfiltered(node: cst.CompFor, _: Sequence[cst.CSTNode]) -> Iterator[cst.CSTNode]:
    """A comprehension that takes everything."""
    if node.ifs:
        yield node.with_changes(ifs=())


def _one_side(node: Any, _: Sequence[cst.CSTNode]) -> Iterator[cst.CSTNode]:
    """``a`` or ``b`` alone for ``a and b``, ``a + b``."""
    if isinstance(node, cst.BooleanOperation) or isinstance(
        node.operator, cst.Add | cst.Subtract | cst.Modulo | cst.BitAnd | cst.BitOr
    ):
        for side in (node.left, node.right):
            yield _bracketed(side)


def _bracketed(node: Any) -> cst.CSTNode:
    return node.with_changes(
        lpar=[cst.LeftParen(), *node.lpar], rpar=[*node.rpar, cst.RightParen()]
    )


def _less(node: Any, parents: Sequence[cst.CSTNode]) -> Iterator[cst.CSTNode]:
    """One less, and half of what is multiplied, divided or not whole."""
    value = node.evaluated_value
    if isinstance(node, cst.Integer):
        yield (
            cst.UnaryOperation(cst.Minus(), cst.Integer("1"))
            if value == 0
            else node.with_changes(value=str(value - 1))
        )
    is_factor = isinstance(parents[-1], cst.BinaryOperation) and isinstance(
        parents[-1].operator, cst.Multiply | cst.Divide
    )
    if value and (isinstance(node, cst.Float) or is_factor):
        yield cst.Float(repr(value / 2))


def _missing(node: cst.CSTNode, _: Sequence[cst.CSTNode]) -> Iterator[cst.CSTNode]:
    """A statement that is not there; of assignments those to attributes and elements."""
    if isinstance(node, cst.Assign):
        targets = [target.target for target in node.targets]
        if not any(isinstance(t, cst.Attribute | cst.Subscript | cst.Tuple) for t in targets):
            return
    yield cst.Pass()


def _swapped(node: cst.Name, _: Sequence[cst.CSTNode]) -> Iterator[cst.CSTNode]:
    if node.value in SWAPPED:
        yield node.with_changes(value=SWAPPED[node.value])


def _unwrapped(node: cst.Call, _: Sequence[cst.CSTNode]) -> Iterator[cst.CSTNode]:
    """``x`` for ``abs(x)``, each of two for ``max(x, y)``."""
    name = node.func.attr if isinstance(node.func, cst.Attribute) else node.func
    if isinstance(name, cst.Name) and name.value in UNWRAPPED:
        for argument in node.args:
            if argument.keyword is None and not argument.star:
                yield _bracketed(argument.value)


ADDED: tuple[tuple[Any, Any], ...] = (
    ((cst.List, cst.Tuple, cst.Set, cst.Dict), _left_out),
    (cst.CompFor, _unfiltered),
    ((cst.BooleanOperation, cst.BinaryOperation), _one_side),
    ((cst.Integer, cst.Float), _less),
    ((cst.Expr, cst.Raise, cst.AugAssign, cst.Assign), _missing),
    (cst.Name, _swapped),
    (cst.Call, _unwrapped),
)
