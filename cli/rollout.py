"""`rollout`: one look at what is on its way to be champion, or a challenger that begins its way."""

from collections.abc import Callable
from typing import Any

from cli.retrain import RetrainingOrder, Story, tell
from cli.shared import MOMENT, SEED, Command, command, flag, now, option, problem_option, say
from engine.domain.errors import InvalidSetting, NothingToJudge, UnusableTable
from engine.domain.history import champion
from engine.domain.ports import Records
from engine.settings import load_settings
from engine.watching.controller import RolloutController, refuse_beside_others
from engine.watching.rollout import ADVANCE, REPLACE, under_way

_EXAMPLES = """Examples:
  predictive rollout                  go on with the one under way, or train a challenger
  predictive rollout --recalibrate    only newer intervals; nothing is trained
"""


def rollout_command(story: Story) -> Command:
    """The command that tells the same `story` as `retrain --rollout`."""

    @command(examples=_EXAMPLES)
    @problem_option
    @option("--since", type=MOMENT, help="Learn only from records from this date or time on.")
    @option("--seed", type=SEED, default=0, show_default=True, help="Seed of everything random.")
    @flag("--recalibrate", help="Same trees, new intervals.")
    def rollout(**given: Any) -> int:
        """Look at the roll-out that is under way, or begin one; the same as retrain --rollout."""
        return tell(RetrainingOrder(**given, rollout=True), load_settings(), story)

    return rollout


def roll_out(
    order: RetrainingOrder,
    controller: RolloutController,
    records: Records,
    *,
    challenge: Callable[[], bool],
) -> bool:
    """Take a step of the roll-out under way, or else train a challenger, and check the copy that
    stands by; returns whether the champion changed."""
    from engine.learning.standby import Post

    if controller.champion.revision() is None:
        raise NothingToJudge("there is no champion yet; train one with train_model.py")
    for missing in (path for path in order.data if not path.exists()):
        raise UnusableTable(f"{missing} does not exist")
    only_copies = order.recalibrate and controller.problem.target.kind.measure.has_coverage
    if only_copies and (order.data or order.since):
        raise InvalidSetting(
            "--rollout --recalibrate always uses the newest records; leave --data and --since out"
        )
    is_under_way = under_way(controller.champion.history()) is not None
    if not is_under_way:
        refuse_beside_others(controller.champion.history())
    arrived = is_under_way and _roll_on(controller, records)
    night = Post(
        controller.problem, controller.champion, controller.artifacts, controller.who, now()
    ).watch(records)
    for line in night.told:
        say(f"roll-out: {line}")
    trained = not (is_under_way or only_copies) and challenge()
    return arrived or night.is_replaced or trained


def _roll_on(controller: RolloutController, records: Records) -> bool:
    """One look at the candidate; whether it is champion now."""
    step = controller.step(records, now())
    past = controller.champion.history()
    say(f"roll-out: {step.move} - {step.reason} champion: {champion(past)}")
    return step.move in {ADVANCE, REPLACE} and under_way(past) is None
