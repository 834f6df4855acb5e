"""What instructions say, by rules: words, noun phrases, targets."""
