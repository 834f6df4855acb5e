"""Names of everyday things: what a phrase is told apart from when an encoder is asked how well it names a region.

Written from general knowledge of what stands in homes, kitchens, streets, fields and workshops; no dataset's list of
classes. Most are what detectors are taught too, so that a phrase whose head noun is here counts as one that a detector
knows. Each is a noun as a phrase would have it, without an article.
"""

EVERYDAY: tuple[str, ...] = (
    "person", "man", "woman", "child", "baby", "face", "hand", "hat", "cap", "helmet", "shirt", "jacket", "dress",
    "trousers", "shoe", "glove", "tie", "sunglasses", "watch", "handbag", "backpack", "suitcase", "umbrella",
    "dog", "cat", "bird", "horse", "cow", "sheep", "duck", "chicken", "fish", "bear", "elephant", "zebra", "giraffe",
    "car", "bus", "truck", "van", "train", "bicycle", "motorcycle", "boat", "airplane", "wheel", "road", "pavement",
    "traffic light", "road sign", "street lamp", "pole", "bench", "fence", "wall", "building", "house", "roof",
    "bridge", "door", "window", "stairs", "tree", "bush", "flower", "grass", "leaf", "rock", "sand", "snow", "water",
    "sky", "mountain",
    "table", "desk", "chair", "sofa", "bed", "pillow", "blanket", "towel", "curtain", "carpet", "shelf", "cupboard",
    "drawer", "mirror", "picture", "clock", "lamp", "candle", "vase", "plant", "basket", "box", "bin", "bag", "bucket",
    "sink", "toilet", "bathtub", "tap", "soap", "toothbrush", "broom",
    "fridge", "oven", "stove", "microwave", "kettle", "toaster", "pan", "pot", "lid", "plate", "bowl", "cup", "mug",
    "glass", "bottle", "can", "jar", "jug", "teapot", "tray", "knife", "fork", "spoon", "spatula", "napkin", "sponge",
    "bread", "sandwich", "pizza", "cake", "cookie", "donut", "egg", "cheese", "meat", "salad", "soup", "rice",
    "apple", "banana", "orange", "lemon", "grape", "strawberry", "tomato", "potato", "carrot", "onion", "pepper",
    "broccoli",
    "phone", "laptop", "keyboard", "mouse", "screen", "remote", "camera", "speaker", "cable", "book", "newspaper",
    "paper", "pen", "pencil", "scissors", "tape", "hammer", "screwdriver", "drill", "rope", "ladder", "key", "coin",
    "toy", "doll", "block", "ball", "kite", "skateboard", "surfboard", "ski", "racket", "guitar", "piano", "robot arm",
)  # fmt: skip
