"""The ids of T5's special tokens, and the number of sentinels."""

PAD, EOS, UNK = 0, 1, 2
SENTINELS = 100
