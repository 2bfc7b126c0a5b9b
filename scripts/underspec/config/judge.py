"""The sections of the config about a prompted judge: what is sent, and how the server is asked."""

from underspec.schema import Count, Section, Seed, Several, Text, integer, number, or_null

GOLD_JUDGE = "gold"  # in place of the URL of a judge's server: the gold rater answers


class JudgeRequest(Section):
    """What is sent to a prompted judge with each question."""

    model: Text
    temperature: number(ge=0, le=100)
    max_tokens: Count
    seed: or_null(Seed)


class JudgeServer(Section):
    """Where and how it is asked."""

    url: Text
    api_key_variable: or_null(Text)
    concurrency: integer(ge=1, le=1024)
    timeout: number(gt=0, le=86400)
    attempts: integer(ge=1, le=100)
    backoff: number(ge=0, le=3600)


class Judge(JudgeServer, JudgeRequest):
    """A prompted judge; none if `url` is null."""

    url: or_null(Text)
    model: or_null(Text)
    prompt: Text
    answers: integer(ge=1, le=1000)
    posts: Several
    rankers: Count
