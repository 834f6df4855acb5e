"""An expert of another package: found through the entry point `maskmix.experts`, its model in a process of its own."""
