"""The DAG in docs/architecture.md, drawn from the workflow itself: `make pictures` renews it."""

import re

import networkx
from workflow import REPOSITORY, snakemake

PAGE = REPOSITORY / "docs/architecture.md"
BLOCK = re.compile(r"```mermaid\n.*?```", re.DOTALL)


def picture() -> str:
    """The rules of the workflow as a Mermaid graph, less the arrows that others imply."""
    graph = snakemake(REPOSITORY, "--rulegraph", "mermaid-js", "--forceall", "all").stdout
    name = dict(re.findall(r"(id\d+)\[(\w+)\]", graph))
    arrows = [(name[a], name[b]) for a, b in re.findall(r"(id\d+) --> (id\d+)", graph)]
    needed = networkx.transitive_reduction(networkx.DiGraph(arrows)).edges
    lines = sorted(f"    {a} --> {b}" for a, b in needed if b != "all")
    return "\n".join(["```mermaid", "flowchart TB", *lines, "```"])


if __name__ == "__main__":
    PAGE.write_text(BLOCK.sub(picture(), PAGE.read_text()))
