"""What people ask about a street, class by class: the templates of the camvid source.

Classes as in the 11-class CamVid distributed with SegNet (Brostow, Fauqueur and Cipolla 2009; arXiv 1511.00561).
Templates name one class, or its part in the left or right half of the picture; `{side}` is "left" or "right".
"""

CLASSES: tuple[str, ...] = (
    "sky", "building", "pole", "road", "pavement", "tree",
    "sign", "fence", "car", "pedestrian", "bicyclist", "unlabelled",
)  # fmt: skip
"""Index in the class map -> name. No instruction asks for what is unlabelled."""

THINGS = frozenset({"car", "pedestrian", "bicyclist"})
"""Classes of separate objects: one that straddles the middle belongs to the half of its centre, and is never cut."""

WHOLE: dict[str, dict[str, tuple[str, ...]]] = {
    "sky": {
        "phrase": ("the sky", "the sky above the street"),
        "question": ("where is the sky?", "which part of the view is sky?"),
    },
    "building": {
        "phrase": ("the buildings", "the houses along the street"),
        "question": ("where are the buildings?", "what could I enter through a door?"),
        "all": ("all the buildings", "every building in view"),
    },
    "pole": {
        "phrase": ("the poles", "the poles beside the road"),
        "command": ("avoid the poles", "keep clear of the poles"),
        "all": ("all the poles", "every lamp post and pole"),
    },
    "road": {
        "phrase": ("the road", "the road surface"),
        "command": ("stay on the road", "drive along the road"),
        "question": ("where can I drive?", "which part is the road?"),
    },
    "pavement": {
        "phrase": ("the pavement", "the sidewalk"),
        "command": ("walk on the pavement", "stay on the sidewalk"),
        "question": ("where can I walk?", "where is it safe for people on foot?"),
    },
    "tree": {
        "phrase": ("the trees", "the trees and bushes"),
        "question": ("where are the trees?", "what is green and growing here?"),
        "all": ("all the trees", "every tree in view"),
    },
    "sign": {
        "phrase": ("the signs", "the traffic signs and lights"),
        "command": ("obey the signs", "look at the traffic signs"),
        "question": ("what tells me the rules here?", "where are the signs?"),
    },
    "fence": {
        "phrase": ("the fence", "the fence or railing"),
        "command": ("do not hit the fence", "keep away from the fence"),
        "question": ("where is the fence?", "what keeps people off the road?"),
    },
    "car": {
        "phrase": ("the cars", "the vehicles"),
        "command": ("watch out for the cars", "do not hit the cars"),
        "question": ("where are the cars?", "which vehicles do I share the road with?"),
        "all": ("all the cars", "every car in view"),
    },
    "pedestrian": {
        "phrase": ("the pedestrians", "the people on foot"),
        "command": ("watch the pedestrians", "give way to the people on foot"),
        "question": ("where are the pedestrians?", "who is walking here?"),
        "all": ("all the pedestrians", "every person on foot"),
    },
    "bicyclist": {
        "phrase": ("the cyclists", "the people on bicycles"),
        "command": ("leave room for the cyclists", "watch the people on bicycles"),
        "question": ("where are the cyclists?", "who is riding a bicycle?"),
        "all": ("all the cyclists", "everyone on a bicycle"),
    },
}
"""Class -> style -> phrasings of one instruction."""

HALF: dict[str, dict[str, tuple[str, ...]]] = {
    "building": {
        "phrase": ("the buildings on the {side}", "the houses on the {side}"),
        "question": ("where are the buildings on the {side}?", "which houses are on the {side}?"),
    },
    "tree": {
        "phrase": ("the trees on the {side}", "the trees in the {side} half"),
        "all": ("all the trees on the {side}", "every tree on the {side}"),
    },
    "pavement": {
        "phrase": ("the pavement on the {side}", "the sidewalk on the {side}"),
        "command": ("walk on the pavement on the {side}", "take the {side} sidewalk"),
    },
    "car": {
        "phrase": ("the cars on the {side}", "the vehicles on the {side}"),
        "command": ("watch the cars on the {side}", "keep clear of the cars on the {side}"),
        "all": ("all the cars on the {side}", "every car on the {side}"),
    },
    "pedestrian": {
        "phrase": ("the pedestrians on the {side}", "the people on foot on the {side}"),
        "command": ("watch the pedestrians on the {side}", "mind the people on the {side}"),
    },
    "bicyclist": {
        "phrase": ("the cyclists on the {side}", "the people on bicycles on the {side}"),
        "command": ("leave room for the cyclists on the {side}", "mind the bicycles on the {side}"),
    },
}
"""The same for one half of the picture; only classes of which both halves often hold some."""
