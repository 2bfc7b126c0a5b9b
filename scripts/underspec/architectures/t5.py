"""T5, as in the paper: it encodes a post, and decodes a candidate to read it."""

from importlib.metadata import version

from underspec.architectures import BaseArchitecture


class Architecture(BaseArchitecture):
    has_shape = aligns = has_mc_dropout = True

    def reader(self, folder, lengths):
        from underspec.data.readers import ApartReader

        return ApartReader(self._tokenizer(), lengths)

    def import_pretrained(self, checkpoint, output):
        from underspec.importers.convert import digest, t5_of
        from underspec.models.t5 import save

        weights, about = self._weights(checkpoint)
        vocabulary = self._tokenizer().get_vocab_size()
        model = t5_of(checkpoint["path"], weights, self.shape, vocabulary)
        about = {"stage": "import", **checkpoint, **about, "sha256": digest(model)}
        save(model, output, [], about)

    def new(self, pretrained, seed, heads):
        from underspec.models.reward_model import new_reward_model

        vocabulary = self._tokenizer().get_vocab_size()
        return new_reward_model(pretrained, self.shape, vocabulary, seed, heads)

    def load(self, folder):
        from underspec.models.reward_model import RewardModel
        from underspec.models.t5 import load

        return load(RewardModel, folder, self.shape, self._tokenizer().get_vocab_size())

    def score(self, model, posts, candidates):
        from underspec.inference.scoring import score

        return score(model, posts, candidates)

    def members(self, model, folder, provenance, count):
        from underspec.models.mc_dropout import members

        return members(model, folder, provenance, count)

    def _weights(self, checkpoint):
        """Weights, and what the provenance says of them."""
        if checkpoint["source"] == "released":
            from underspec.importers.t5x import read_t5x

            vocabulary = self._tokenizer().get_vocab_size()
            weights = read_t5x(checkpoint["path"], self.shape, vocabulary)
            return weights, {"tensorstore": version("tensorstore")}
        from underspec.importers.huggingface import find, read_hub

        place = {name: checkpoint[name] for name in ("path", "revision", "trust_pickle")}
        folder = find(**place)
        weights = read_hub(folder, self.shape, self._tokenizer())
        return weights, {"folder": str(folder)}  # the Hub's are named after their commit

    def _tokenizer(self):
        from underspec.data.tokenization import load_tokenizer

        return load_tokenizer(self.tokenizer)
