"""A teacher's open room with Ann and Bob; Eve is not in it."""

from __future__ import annotations

from instruct_tune.config.viewer import known_by

TEACHER, ANN, BOB, EVE = (known_by(f"the secret of {name}") for name in ("teacher", "ann", "bob", "eve"))
SMOKE = {"preset": "smoke", "max_rows": 16}


def opened_room(lab, rules=SMOKE):
    """An open room with Ann and Bob, which trains the tiny model."""
    code = lab.rooms.open(TEACHER, "Monday", 60)
    lab.rooms.rule(TEACHER, code, rules)
    lab.rooms.join(ANN, code, "Ann")
    lab.rooms.join(BOB, code.lower(), "Bob")
    return code
