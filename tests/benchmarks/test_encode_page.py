"""The page of the encode command says what the results say."""

import encode_page


def test_the_page_says_what_the_results_say() -> None:
    block = encode_page.measured(encode_page.read_results())
    assert block in encode_page.PAGE.read_text(), "run python benchmarks/encode_page.py"


def test_a_million_pictures_take_a_million_times_one() -> None:
    ways = {
        way: {
            "seconds": 10.0,
            "images": 100,
            "tiles": 1300,
            "times_as_long": 1.0,
            "cpu_seconds": 18.0,
            "peak_mib": 700,
            "bytes": 10**8,
        }
        for way in ("one at a time", "opticnerve")
    }
    case = {
        "ways": ways,
        "rounds": 1,
        "threads": 2,
        "workers": 1,
        "cpu": "a processor",
        "cores": 2,
        "torch": "2.13.0",
        "date": "2026-11-23",
        "commit": "abc",
        "load_before": 0.1,
    }
    text = encode_page.measured({"bundled fp32": case})
    assert "| opticnerve | 10.00 | 1.00 | 18 | 700 |" in text
    # 0.1 s on two cores is 0.2 core-seconds an image
    assert "| the bundled encoder, fp32 | a million | 56 | 3 min | 2 | 1.0 TB |" in text
    assert "| the bundled encoder, fp32 | a billion | 55,556 | 2 days | 2,222 | 1,000.0 TB |" in text
    assert "**high**" not in text
    assert "**high**" in encode_page.measured({"bundled fp32": {**case, "load_before": 5.0}})
