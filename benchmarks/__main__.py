"""All benchmarks, one after another, each in a process of its own: python -m benchmarks (about twenty minutes).

Ten of them are the two of SAM, which encode images of full size on one thread.
"""

import subprocess
import sys

from benchmarks.ratio import say

ALL = (
    "shard_write",
    "shard_read",
    "decoded_load",
    "loader",
    "staple",
    "label_model",
    "ray_overhead",
    "sam_encoder",
    "sam_prompts",
    "dwsl_step",
    "cfm_step",
    "masking_step",
    "vit_step",
    "gaussian_field",
)


def main() -> None:
    """Run all; exit 1 when one misses its target or fails."""
    missed: list[str] = []
    for name in ALL:
        say(f"== {name}")
        if subprocess.run([sys.executable, "-m", f"benchmarks.{name}"]).returncode:
            missed.append(name)
    say(f"missed or failed: {', '.join(missed)}" if missed else "all targets reached")
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
