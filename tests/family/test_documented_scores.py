"""What the page says of the bundled models is what their cards say."""

from pathlib import Path

from opticnerve import family

PAGE = Path(__file__).parents[2] / "docs" / "ask.md"
KINDS = ("color", "marker", "place", "where", "shape", "count", "value")


def test_the_table_of_the_bundled_models_holds_the_numbers_of_their_cards():
    rows = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    cells = {row.split("|")[1].strip(" `"): [cell.strip() for cell in row.split("|")[2:-1]] for row in rows}
    for name, member in family.members().items():
        (test,) = (one["exact_match"] for one in member.card["accuracy"] if one["split"] == "test")
        low, high = (f"{100 * end:.0f}" for end in test["all"]["interval_95"])
        everything = f"{100 * test['all']['share']:.0f} ({low}-{high})"
        assert cells[name] == [
            str(member.num_tokens),
            everything,
            *(f"{100 * test[kind]['share']:.0f}" for kind in KINDS),
        ]
