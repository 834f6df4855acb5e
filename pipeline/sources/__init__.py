"""Where samples are born: one file per kind of input, none importing another."""
