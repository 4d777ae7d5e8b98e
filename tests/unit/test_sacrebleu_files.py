"""The zip for the ``sacrebleu`` command gives the lab's BLEU, whatever the texts and their ends contain."""

import subprocess
import sys
import zipfile

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from sacrebleu.metrics import BLEU

from instruct_tune.evaluation.bleu import quick_bleu
from instruct_tune.evaluation.bleu_tokenizers import offered
from instruct_tune.evaluation.predictions_file import one_line, write_zip

PIECES = [
    *(
        "a",
        "1",
        "x1",
        "-",
        "-\n",
        "\n",
        " ",
        "\t",
        "\r",
        "\r\n",
        "\x0b",
        "\x1c",
        "\x85",
        "\u2028",
        "\u3000",
        "\ufeff",
        "\0",
    ),
    *(".", ",", "1.", ".5", "!", "$", "&", "&lt;", "&amp;", "&quot;", "<skipped>", "<skip", "ped>", "<", ">", "'"),
    *("好", "の", "한", "ไ", "é", "e\u0301", "🙂", "¿", "©"),
]
texts = st.one_of(st.lists(st.sampled_from(PIECES), max_size=8).map("".join), st.text(max_size=12)).filter(
    lambda text: not any("\ud800" <= character <= "\udfff" for character in text)
)


@pytest.mark.parametrize("tokenize", offered())
@given(text=texts)
@example(text="a-\n")
@example(text="a-\n ")
@example(text="<skip<skipped>ped>\nb")
@example(text="<skip-\nped>")
@example(text="1.\n")
@example(text="\n.5-\n<skipped>1.\n\n")
@example(text="")
def test_a_line_is_cut_into_the_words_of_its_text(tokenize, text):
    words = BLEU(tokenize=tokenize)._preprocess_segment
    line = one_line(text, tokenize)
    assert "\n" not in line
    # The command drops white space at a line's end.
    assert words(line.rstrip()).split() == words(text).split()


ROWS = [
    {"reference": "a well-\nknown list, 1.\n", "base": "a well-", "tuned": "a wellknown list, 1.-\n"},
    {"reference": "def f():\r\n\treturn 1\u2028 2", "base": "\n\n", "tuned": "def f():\n    return 1 2  "},
    {"reference": "<skip<skipped>ped>\nyes", "base": "<skipped>", "tuned": "<skip<skipped>ped> yes"},
    {"reference": "你好，世界。\n", "base": "你", "tuned": "你好，\n世界。"},
    {
        "reference": "x &lt; 1 - 2 and so on and so forth",
        "base": "\x0bx < 1 - 2 and so",
        "tuned": "x &lt; 1-\n2 and so on",
    },
]


@pytest.mark.parametrize("tokenize", offered())
def test_the_command_in_the_zip_prints_the_labs_number(tmp_path, tokenize):
    write_zip(ROWS, tmp_path / "answers.zip", tokenize)
    with zipfile.ZipFile(tmp_path / "answers.zip") as archive:
        archive.extractall(tmp_path)
    assert f"--tokenize {tokenize} " in (tmp_path / "command.txt").read_text()
    for side in ("base", "tuned"):
        command = [*("-m", "sacrebleu", "reference.txt", "-i", f"{side}.txt", "-m", "bleu"), "--tokenize", tokenize]
        done = subprocess.run(
            [sys.executable, *command, "-b", "-w", "17"], cwd=tmp_path, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stderr
        ours = quick_bleu([row[side] for row in ROWS], [row["reference"] for row in ROWS], tokenize=tokenize)
        assert float(done.stdout) == pytest.approx(ours, abs=1e-12)
        assert done.stdout.strip() == f"{ours:.17f}"
