"""Templates: how a post and a sample become one text."""

POST, SAMPLE = "{post}", "{sample}"
CHAT = "chat"  # in place of a template: the chat template of a model's tokenizer


def is_template(text: str) -> bool:
    """Whether it has each of the two once, the post first: samples can then share its ids."""
    once = text.count(POST) == text.count(SAMPLE) == 1
    return text == CHAT or (once and text.index(POST) < text.index(SAMPLE))


def parts(template: str) -> tuple[str, str, str]:
    """The texts before the post, between the two, and after the sample."""
    before, rest = template.split(POST)
    return (before, *rest.split(SAMPLE))
