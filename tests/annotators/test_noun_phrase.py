"""Phrases taken apart."""

import pytest

from annotators.language.noun_phrase import read_phrase

CASES = [
    ("the blue mug", {"head": "mug", "colours": ("blue",)}),
    ("the small red mug to the left of the white plate",
     {"head": "mug", "colours": ("red",), "sizes": ("small",), "relation": "left of", "anchor": "white plate"}),
    ("both dark green bottles in the lower right corner",
     {"colours": ("dark green",), "places": ("bottom", "right"), "plural": True, "count": 2}),
    ("all the red cubes", {"head": "cube", "plural": True, "colours": ("red",)}),
    ("every can", {"head": "can", "plural": True}),
    ("the two mugs on the right", {"head": "mug", "plural": True, "count": 2, "places": ("right",)}),
    ("the leftmost can", {"head": "can", "places": ("leftmost",)}),
    ("the can farthest to the left", {"head": "can", "places": ("leftmost",)}),
    ("the red can at the back left", {"head": "can", "places": ("far", "left")}),
    ("the bowl on the left side of the table", {"head": "bowl", "places": ("left",), "relation": ""}),
    ("the box behind the left bowl", {"places": (), "relation": "behind", "anchor": "left bowl"}),
    ("the cube in the middle", {"places": ("middle",), "relation": ""}),
    ("the green bottle nearest to the camera", {"places": ("nearest",), "relation": ""}),
    ("the ball inside the pan", {"relation": "in", "anchor": "pan"}),
    ("the mug in front of the striped box", {"relation": "in front of", "anchor": "striped box", "places": ()}),
    ("the thing on top of the tray", {"relation": "on", "anchor": "tray"}),
    ("the mug on the table to the right of the can", {"relation": "right of", "anchor": "can"}),
    ("the box between the ball and the can", {"relation": "between", "anchor": "ball"}),
    ("the orange", {"head": "orange", "colours": ("orange",)}),
    ("the orange striped ball", {"head": "ball", "colours": ("orange",), "materials": ("striped",)}),
    ("the white bowl with a blue rim", {"colours": ("white",), "part_colours": ("blue",)}),
    ("the man in the light blue t-shirt", {"head": "man", "colours": (), "part_colours": ("light blue",)}),
    ("the player in white near the net", {"part_colours": ("white",), "relation": "beside", "anchor": "net"}),
    ("a grey-haired man in a dark suit", {"colours": (), "part_colours": ("grey", "dark")}),
    ("the black and white cat with a hat", {"head": "cat", "colours": ("black", "white")}),
    ("the light-coloured keyboard", {"head": "keyboard", "colours": ("light",)}),
    ("the navy sweater", {"colours": ("dark blue",)}),
    ("the pair of skis on the snow", {"head": "ski", "plural": True, "count": 2}),
    ("the smaller of the wine glasses", {"head": "glass", "sizes": ("small",), "plural": False}),
    ("the right-hand one of the two vehicles", {"head": "vehicle", "places": ("right",), "plural": False}),
    ("the big cluster of green bananas", {"head": "banana", "colours": ("green",), "plural": True}),
    ("the man's black tie", {"head": "tie", "colours": ("black",)}),
    ("everyone on the court", {"head": "person", "plural": True}),
    ("the people in the boat", {"head": "person", "plural": True}),
    ("the batter and the catcher", {"plural": True}),
    ("a zebra turning its head back", {"head": "zebra", "places": ()}),
    ("the dark horse standing right in front of the porch", {"places": (), "relation": "in front of"}),
    ("the thing the man in the blue polo is holding", {"head": "thing", "part_colours": (), "relation": "beside"}),
    ("カップ", {"head": ""}),
    ("", {"head": "", "plural": False}),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), CASES)
def test_it_reads(text, expected):
    parts = read_phrase(text)
    assert {name: getattr(parts, name) for name in expected} == expected
