"""The slow tests of tests/browser/test_hostile_posts.py, for the nightly run."""

from test_hostile_posts import attack_endpoints, attack_handlers, lab


def test_every_handler_of_the_page_survives_and_no_poll_raises(lab):
    attack_handlers(lab, every=1)


def test_every_endpoint_answers_every_value_with_a_sentence(lab):
    attack_endpoints(lab, every=1)
