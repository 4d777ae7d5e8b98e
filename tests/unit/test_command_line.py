"""The commands that the parser accepts are those that exist."""

import argparse

from instruct_tune.cli.commands import COMMANDS
from instruct_tune.cli.parser import parser


def commands_of(parser_):
    """Every command that a parser, or one of its subparsers, accepts."""
    below = [action for action in parser_._actions if isinstance(action, argparse._SubParsersAction)]
    if not below:
        return [parser_.get_default("does")]
    return [does for action in below for command in action.choices.values() for does in commands_of(command)]


def test_every_command_that_is_read_can_be_done():
    assert sorted(commands_of(parser())) == sorted(COMMANDS)


def test_a_command_line_says_what_it_does():
    assert parser().parse_args(["train", "--resume", "one"]).does == "train"
    assert parser().parse_args(["runs", "delete", "one"]).does == "runs delete"
