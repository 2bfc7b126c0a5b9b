"""The ids of T5's special tokens, and how many sentinels it has."""

PAD, EOS, UNK = 0, 1, 2
SENTINELS = 100
