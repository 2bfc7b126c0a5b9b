"""Encoders such as BERT: they read post and candidate as a pair of texts."""

from underspec.architectures import BaseArchitecture


class Architecture(BaseArchitecture):
    def reader(self, folder, lengths):
        from underspec.data.readers import PairReader
        from underspec.models.sequence_classifier import longest_text, read_config

        return PairReader(folder, lengths["post"], longest_text(read_config(folder)))

    def import_pretrained(self, checkpoint, output):
        from underspec.importers.folder_copy import copy_model

        def load(folder):
            self.reader(folder, {"post": 1})  # its tokenizer can be used
            return self.new(folder, 0, 1)

        copy_model(checkpoint, output, load)

    def new(self, pretrained, seed, heads):
        from underspec.models.sequence_classifier import new

        return new(self._kind(), pretrained, self.tokenizer_of(pretrained), seed, heads)

    def load(self, folder):
        from underspec.models.sequence_classifier import load

        return load(self._kind(), folder)

    def score(self, model, posts, candidates):
        from underspec.inference.pair_scoring import score

        return score(model, posts, candidates)

    def tokenizer_of(self, folder):
        from underspec.data.readers import load_tokenizer

        return load_tokenizer(folder)

    def _kind(self):
        from underspec.models.sequence_classifier import EncoderClassifier

        return EncoderClassifier
