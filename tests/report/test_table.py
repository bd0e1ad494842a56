from rich.console import Console

from mmreward.report.table import Column, Table, numbers, texts


def test_table_cells_cannot_break_the_table():
    table = Table(texts("a") + numbers("b", "c"), [("x|y", "1\n2")])
    assert table.markdown().splitlines() == [
        "| a | b | c |",
        "| --- | ---: | ---: |",
        "| x\\|y | 1 2 |  |",
    ]


def test_the_screen_shows_the_same_cells_as_the_file():
    """Square brackets are text, not rich's markup; names are folded, numbers never cut."""
    rows = [["digits", "97.8 % [96.4 to 98.6 %]", None], ["[bold] name " * 9, "1", "2"]]
    table = Table(
        (*texts("set"), Column("kind"), *numbers("n")), rows, "a title", "a note", sections=[1]
    )
    console = Console(width=60, force_terminal=False)
    with console.capture() as capture:
        console.print(table.rich())
    lines = capture.get().splitlines()
    assert lines[0].strip() == "a title" and lines[-1].strip() == "a note"
    (first,) = [line for line in lines if "digits" in line]
    assert [cell.strip() for cell in first.split("│")[1:-1]] == ["digits", rows[0][1], ""]
    text = "".join(line.split("│")[1].strip() + " " for line in lines if line.startswith("│"))
    assert text.count("[bold]") == 9
    assert sum(line.startswith("├") for line in lines) == 1
    assert table.markdown().count("97.8 % [96.4 to 98.6 %]") == 1
