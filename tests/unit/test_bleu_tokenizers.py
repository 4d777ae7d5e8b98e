"""BLEU with each offered tokenisation, and the warning where one does not suit the answers."""

from __future__ import annotations

import json
import random
import shlex
import zipfile

import pytest
from sacrebleu_texts import corpus, sacrebleu_prints

from instruct_tune.cli.commands import main
from instruct_tune.config.run_config import DEFAULT_MODEL
from instruct_tune.errors import DataError
from instruct_tune.evaluation import bleu_tokenizers
from instruct_tune.evaluation.bleu import paired_test, quick_bleu, score
from instruct_tune.evaluation.predictions_file import write_rows
from instruct_tune.text.scripts import script_of

CHINESE = ["写一个函数，返回两个数的和。", "用循环计算列表的长度。", "打印问候语。"]
JAPANESE = ["二つの数の和を返す関数を書いてください。", "リストの長さを計算する。", "あいさつを表示する。"]
ENGLISH = ["Write a function that adds two numbers.", "Count the items of a list.", "Print a greeting."]
SWITCHED = ["Напиши функцию, которая складывает два числа.", "Посчитай длину списка."]


def rows(count: int = 40) -> list[dict[str, str]]:
    """Answers of several lines, with every kind of line end, hyphen and empty text."""
    base, references = corpus(count, 0.6)
    dice = random.Random(3)
    tuned = [text if n % 4 else base[n] for n, text in enumerate(references)]
    ends = ("\n", "-\n", "\n\n", "-<skipped>\n", " \r\n", "\u2028", " ")

    def broken(text: str) -> str:
        return "".join(dice.choice(ends) if letter == " " and dice.random() < 0.3 else letter for letter in text)

    texts = [{"reference": r, "base": b, "tuned": t} for r, b, t in zip(references, base, tuned, strict=True)]
    texts += [{"reference": c, "base": j[:9], "tuned": c[:-2]} for c, j in zip(CHINESE, JAPANESE, strict=True)]
    answers = [{name: broken(text) for name, text in row.items()} for row in texts]
    answers[5]["base"], answers[6]["tuned"] = "", "\n"
    return answers


@pytest.mark.parametrize("tokenize", bleu_tokenizers.offered())
def test_the_command_line_gives_the_same_bits_from_the_exported_file(tmp_path, tokenize):
    texts = rows()
    write_rows(texts, tmp_path / "rows.zip", tokenize)
    with zipfile.ZipFile(tmp_path / "rows.zip") as file:
        files = {name.removesuffix(".txt"): file.read(name).decode().split("\n")[:-1] for name in file.namelist()}
    (command,) = files.pop("command")
    program, *options = shlex.split(command)
    assert program == "sacrebleu"
    named = {f"{name}.txt": lines for name, lines in files.items()}
    printed = sacrebleu_prints(tmp_path, [*options, "-w", "25"], **named)
    base, tuned, references = ([row[name] for row in texts] for name in ("base", "tuned", "reference"))
    for side, answers in zip(printed, (base, tuned), strict=True):
        report = score(answers, references, tokenize=tokenize, bootstrap=0)
        assert report.bleu == side["BLEU"]["score"] == quick_bleu(answers, references, tokenize=tokenize)
        assert f"tok:{tokenize}|" in report.signature
    assert paired_test(base, tuned, references, tokenize=tokenize) == pytest.approx(printed[1]["BLEU"]["p_value"])


def test_each_tokenisation_is_another_score():
    texts = rows()
    answers, references = ([row[name] for row in texts] for name in ("tuned", "reference"))
    scores = {quick_bleu(answers, references, tokenize=name) for name in bleu_tokenizers.offered()}
    assert len(scores) == len(bleu_tokenizers.offered()) >= 4


def test_what_is_not_here_is_an_error():
    with pytest.raises(DataError, match="must be one of 13a, intl, zh"):
        bleu_tokenizers.checked("flores200")
    for strange in (None, ["13a"], {}):
        with pytest.raises(DataError, match="must be one of"):
            bleu_tokenizers.checked(strange)


def test_a_dictionary_that_is_not_installed_is_not_offered(monkeypatch):
    monkeypatch.setattr(bleu_tokenizers, "MECAB", {"ja-mecab": (("no_such_module",), "sacrebleu[ja]")})
    assert "ja-mecab" not in bleu_tokenizers.offered()
    with pytest.raises(DataError, match=r'pip install "sacrebleu\[ja\]"'):
        bleu_tokenizers.checked("ja-mecab")


@pytest.mark.parametrize(
    ("texts", "script"),
    [
        (ENGLISH, "Latin"), (CHINESE, "Chinese"), (JAPANESE, "Japanese"), (SWITCHED, "Cyrillic"),
        (["두 수의 합을 반환하는 함수."], "Korean"), (["1 + 2 = 3"], "Latin"), ([], "Latin"),
        # A comment in Chinese does not make code Chinese; prose with some code in it stays Chinese.
        (["def add(a, b):\n    return a + b  # 和"], "Latin"), ([f"{CHINESE[0]} sum(numbers)"], "Chinese"),
    ],
)  # fmt: skip
def test_the_script_of_texts(texts, script):
    assert script_of(texts)[0] == script


@pytest.mark.parametrize(
    ("texts", "tokenize", "model", "expected"),
    [
        (ENGLISH, "13a", DEFAULT_MODEL, []),
        (ENGLISH, "intl", DEFAULT_MODEL, []),
        (ENGLISH, "ja-mecab", DEFAULT_MODEL, ["evaluate with 13a or intl."]),
        (CHINESE, "zh", "Qwen/Qwen2.5-0.5B", []),
        (CHINESE, "zh", "somebody/their-model", []),
        (CHINESE, "13a", "Qwen/Qwen2.5-0.5B", ["evaluate with zh or char."]),
        (CHINESE, "char", DEFAULT_MODEL, ["SmolLM2-135M-Instruct was trained on Latin text"]),
        (SWITCHED, "13a", DEFAULT_MODEL, ["written in Cyrillic, and SmolLM2"]),
        (JAPANESE, "13a", DEFAULT_MODEL, ["13a does not cut", "written in Japanese, and SmolLM2"]),
    ],
)
def test_what_does_not_suit_is_warned_about(texts, tokenize, model, expected):
    warnings = bleu_tokenizers.warnings(texts, tokenize, model)
    assert len(warnings) == len(expected)
    assert all(words in warning for words, warning in zip(expected, warnings, strict=True))


def test_the_command_line_scores_by_a_tokenisation(tmp_path, capsys):
    files = {"predictions": [text[:-3] for text in CHINESE], "references": CHINESE}
    for name, texts in files.items():
        (tmp_path / name).write_text("".join(f"{json.dumps(text)}\n" for text in texts), encoding="utf-8")
    command = ["score", "--json", *(part for name in files for part in (f"--{name}", str(tmp_path / name)))]
    assert main([*command, "--tokenize", "zh"]) == 0
    output = json.loads(capsys.readouterr().out)
    assert output["bleu"] == quick_bleu(*files.values(), tokenize="zh") > 0
    assert "|tok:zh|" in output["signature"]
    assert main([*command, "--tokenize", "flores200"]) == 1
    assert "tokenize must be one of" in capsys.readouterr().err
