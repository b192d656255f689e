"""A drawing that fits into a terminal's height."""

from rich.console import Console, ConsoleOptions, RenderResult
from rich.segment import Segment

from sentry_trio.status.drawing import Drawing


class Fitted:
    """A drawing cut at the bottom of the terminal, so that its first line, the verdict, is always seen.

    Args:
        drawing: what is shown.
    """

    def __init__(self, drawing: Drawing) -> None:
        self._drawing = drawing

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The first lines, and how many more there are."""
        height = options.height or console.height
        lines = console.render_lines(self._drawing, options.update(height=None), pad=False)
        if len(lines) > height:
            hidden = len(lines) - height + 1
            note = f"... {hidden} more lines: enlarge the terminal, or look once without --watch"
            lines = [*lines[: height - 1], [Segment(note[: options.max_width], console.get_style("dim"))]]
        for number, line in enumerate(lines):
            if number:
                yield Segment.line()
            yield from line
