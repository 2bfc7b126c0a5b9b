"""RLHF: policies that are trained to please a ranker, and stay near the SFT policy."""
