"""One command line: `python -m cli COMMAND`, or `predictive COMMAND` where it is installed."""

from importlib import import_module

import click

from cli.demo import demo
from cli.deployment import deployment
from cli.features import features
from cli.records import records
from cli.replay import replay
from cli.rollback import rollback
from cli.score import score
from cli.serve import serve
from cli.shared import group, run
from engine import __version__

_STORIES = ("train_model:train", "retrain:retrain", "retrain:rollout")
"""They stand at the root, above everything else; nobody imports them."""
_EXAMPLES = """Examples:
  predictive train --data my.csv --target price --yes
  predictive serve
  predictive retrain --dry-run

Without an installation: python -m cli COMMAND. Completion in bash, for zsh and fish likewise:
  eval "$(_PREDICTIVE_COMPLETE=bash_source predictive)"
"""


@group(examples=_EXAMPLES)
@click.version_option(__version__, prog_name="predictive")
def predictive() -> None:
    """From a table of data to a service that predicts with intervals that cover."""


for story in _STORIES:
    file, _, name = story.partition(":")
    predictive.add_command(getattr(import_module(file), name))
for each in (rollback, deployment, records, replay, score, features, serve, demo):
    predictive.add_command(each)


def main() -> None:
    run(predictive)


if __name__ == "__main__":
    main()
