"""Rows of captured records that wait to be folded in bulk."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from drift_analyzer.baseline_files import Layout
from drift_analyzer.capture_records import Payload, Row, UnreadableRecordError
from drift_analyzer.columns import width_error
from drift_analyzer.window_state import WindowState


@dataclass(slots=True)
class Batch:
    """Rows of one form: either all named or all positional.

    Attributes:
        inputs: Rows of the requests.
        outputs: Rows of the responses; empty if they are not needed.
        checksums: Checksum of each request.
    """

    named: bool
    inputs: list[Any] = field(default_factory=list)
    outputs: list[Any] = field(default_factory=list)
    checksums: list[int] = field(default_factory=list)

    @property
    def records(self) -> int:
        """Number of requests."""
        return len(self.checksums)

    def input_cells(self, names: Sequence[str]) -> list[Sequence[object]]:
        """Return the cells by column."""
        if self.named:
            return [[row.get(name) for row in self.inputs] for name in names]
        return list(zip(*self.inputs, strict=True))

    def output_cells(self, layout: Layout) -> list[Sequence[object]]:
        """Return the cells of the responses by column."""
        return list(zip(*self.outputs, strict=True)) if self.outputs else [[] for _ in layout.outputs]


@dataclass(slots=True)
class Pending:
    """What was read of one window and is not folded yet.

    Attributes:
        texts: Plain CSV of requests.
        answers: Plain CSV of their responses; empty if they are not needed.
        lines: The captured lines of `texts`.
        batches: Rows of other requests: positional and named ones.
    """

    texts: list[str] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)
    lines: list[bytes] = field(default_factory=list)
    batches: tuple[Batch, Batch] = field(default_factory=lambda: (Batch(False), Batch(True)))

    def add_plain(self, text: str, answer: str | None, line: bytes) -> None:
        """Add a request of plain CSV."""
        self.texts.append(text)
        self.lines.append(line)
        if answer is not None:
            self.answers.append(answer)

    def add_rows(self, inputs: Sequence[Row], outputs: Sequence[Any], checksum: int, layout: Layout) -> None:
        """Add the rows of a request; rows of both forms in one request are brought to one form."""
        forms = set(map(type, inputs))
        named = forms == {dict}
        if len(forms) > 1 and dict in forms:
            names = layout.input_names
            inputs = [[row.get(name) for name in names] if isinstance(row, Mapping) else row for row in inputs]
        batch = self.batches[named]
        batch.inputs += inputs
        batch.outputs += outputs
        batch.checksums.append(checksum)


def without_carriage_returns(text: str) -> str | None:
    """Return text with plain line ends; None if a carriage return stands elsewhere."""
    if "\r" not in text:
        return text
    plain = text.replace("\r\n", "\n")
    return None if "\r" in plain else plain


def plain_csv(data: object, width: int, *, cut: bool = False) -> tuple[str, int] | None:
    """Return a payload as plain CSV with its number of rows; None if it is something else, or may be.

    Args:
        data: The payload.
        width: Number of columns.
        cut: Whether further columns are left out.
    """
    if not isinstance(data, str) or '"' in data or (text := without_carriage_returns(data)) is None:
        return None
    text = text.removesuffix("\n")
    rows = text.count("\n") + 1
    commas = text.count(",")
    if cut and commas > rows * (width - 1):
        text = "\n".join(",".join(line.split(",")[:width]) for line in text.split("\n"))
        commas = text.count(",")
    if commas != rows * (width - 1) or (width == 1 and (not text or text[0] == "\n" or "\n\n" in text)):
        return None
    return text, rows


def first_columns(payloads: list[bytes], width: int) -> list[bytes]:
    """Leave out the columns behind the first `width` of payloads as they are in JSON."""
    if not any(text.count(b",") > (text.count(b"\\n") + 1) * (width - 1) for text in payloads):
        return payloads
    return [b"\\n".join(b",".join(line.split(b",")[:width]) for line in text.split(b"\\n")) for text in payloads]


def rows_of_both_sides(
    given: Payload, answer: Payload | None, layout: Layout, state: WindowState
) -> tuple[Sequence[Row], Sequence[Sequence[Any]]]:
    """Return the rows of a request and of its response, checked against the layout.

    Columns that named rows lack or have in addition are counted in the state, as is the width of other rows.

    Raises:
        UnreadableRecordError: The rows do not fit the layout or each other.
    """
    inputs = given.rows()
    expected = len(layout.input_names)
    absent: list[str] = []
    extra: list[str] = []
    for row in inputs:
        if isinstance(row, dict):
            if row.keys() != layout.input_keys:
                absent += layout.input_keys - row.keys()
                extra += row.keys() - layout.input_keys
        elif len(row) != expected:
            state.widths[len(inputs[0])] += len(inputs)
            raise width_error(len(row), expected)
    outputs = _outputs(answer, len(inputs), layout) if answer is not None else ()
    if absent:
        state.absent.update(absent)
    if extra:
        state.add_extra(Counter(extra))
    return inputs, outputs


def _outputs(answer: Payload, rows: int, layout: Layout) -> Sequence[Sequence[Any]]:
    found = answer.rows()
    width = len(layout.outputs)
    if width == 1 and rows > 1 and len(found) == 1 and len(found[0]) == rows and not isinstance(found[0], Mapping):
        return [[cell] for cell in found[0]]  # one line with the answers to all rows
    if len(found) != rows:
        raise UnreadableRecordError("endpointOutput has another number of rows")
    return [_output_cells(row, layout) for row in found]


def _output_cells(row: Row, layout: Layout) -> Sequence[Any]:
    """Return the first cells of an answer: what stands behind them, such as probabilities, is not judged."""
    names = layout.output_names
    if isinstance(row, Mapping):
        if any(name in row for name in names):
            return [row.get(name) for name in names]
        row = list(row.values())
    if len(row) < len(names):
        raise width_error(len(row), len(names))
    return row[: len(names)]
