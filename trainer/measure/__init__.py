"""How good a model is: metrics and the evaluations that apply them."""
