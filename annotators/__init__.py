"""Images and phrases in, candidates out. Knows no sample, no shard, no Ray and no dataset path."""
