"""Decoders such as GPT-NeoX and Llama: they read a candidate after its post, in a template, and
have a head on the last token.
"""

from underspec.architectures import encoder


class Architecture(encoder.Architecture):
    has_template = True

    def reader(self, folder, lengths):
        from underspec.data.readers import TemplateReader
        from underspec.models.sequence_classifier import longest_text, read_config

        limit = longest_text(read_config(folder))
        return TemplateReader(folder, lengths["post"], limit, self.template)

    def score(self, model, posts, candidates):
        from underspec.inference.shared_prefix import score

        return score(model, posts, candidates)

    def _kind(self):
        from underspec.models.sequence_classifier import DecoderClassifier

        return DecoderClassifier
