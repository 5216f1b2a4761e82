"""`opticnerve recipes`: the shipped training recipes."""

from typing import Annotated

from cyclopts import Parameter


def recipes(name: str = "", /, *, json: Annotated[bool, Parameter(name="--json")] = False) -> int:
    """List the shipped recipes, or print one: its YAML is a good start for one's own.

    Args:
        name: Recipe to print.
        json: Print JSON instead of a table or YAML.
    """
    from opticnerve.cli.terminal import print_json, print_table, say
    from opticnerve.train.load_recipe import read_recipe
    from opticnerve.train.recipe_faults import missing_values
    from opticnerve.train.recipes import recipe_names, recipe_text

    if name:
        data = read_recipe(name)
        if json:
            print_json(data)
        else:
            say(recipe_text(name).rstrip("\n"))
        return 0
    entries: list[dict[str, object]] = []
    rows: list[list[str]] = []
    for known in recipe_names():
        data = read_recipe(known)
        missing = [place for place, _ in missing_values(data)]
        stages = [{"name": stage["name"], "open": stage["open"]} for stage in data["stages"]]
        trained = [" + ".join(stage["open"]) for stage in stages]
        entries.append(
            {
                "recipe": known,
                "source": data["source"],
                "method": data["model"]["method"],
                "stages": stages,
                "to_set": missing,
            }
        )
        rows.append([known, data["model"]["method"], ", then ".join(trained), data["source"], str(len(missing))])
    if json:
        print_json({"recipes": entries})
        return 0
    print_table("Recipes", ["recipe", "method", "what trains", "source", "to set"], rows, num_words=4)
    say("opticnerve recipes NAME prints one; opticnerve train NAME says what is left to set, and trains it.")
    return 0
