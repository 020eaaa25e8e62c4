"""Law: clients of OpenAI's interface work without changes: `openai` and `llm`."""

import os
import subprocess
import sys

import numpy as np
import pytest

from charlm.evaluation import losses
from charlm.serving.completion import Writer
from tests.serving.conftest import NAME, TOKEN, serving
from tests.serving.test_completion import SamplingConstraints, drawn

pytest.importorskip("starlette")
pytestmark = pytest.mark.full


@pytest.fixture
def client(port):
    openai = pytest.importorskip("openai")
    with openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none") as found:
        yield found


def test_openai_lists_and_completes(client, saved):
    assert [m.id for m in client.models.list()] == [NAME]
    assert client.models.retrieve(NAME).id == NAME
    given = {"model": NAME, "prompt": "the ", "max_tokens": 60, "temperature": 0.7, "seed": 3}
    expected = drawn(saved, "the ", 60, 0.7, 2, 3, SamplingConstraints())
    whole = client.completions.create(**given, n=2)
    assert [choice.text for choice in whole.choices] == expected
    assert (whole.usage.prompt_tokens, whole.usage.completion_tokens) == (4, 120)
    pieces = [*client.completions.create(**given, stream=True)]
    assert "".join(x.choices[0].text for x in pieces) == expected[0]
    assert pieces[-1].choices[0].finish_reason == "length"
    more = client.completions.create(**given, extra_body={"top_k": 1})
    assert more.choices[0].text == drawn(saved, "the ", 60, 0, 1, 3, SamplingConstraints())[0]


def test_openai_scores_a_text(client, saved):
    text = "the quick brown fox."
    found = client.completions.create(model=NAME, prompt=text, max_tokens=0, echo=True, logprobs=1)
    marks = found.choices[0].logprobs
    (expected,) = losses.stateful_losses(saved.to_network(), [saved.vocab.encode(text)])
    np.testing.assert_allclose(-sum(marks.token_logprobs[1:]), expected.sum(), rtol=1e-6)
    assert marks.tokens == [*text]


def test_openai_raises_its_errors(client, writer):
    import openai

    with pytest.raises(openai.BadRequestError, match="found '☃'"):
        client.completions.create(model=NAME, prompt="☃")
    with pytest.raises(openai.NotFoundError, match="expected the model"):
        client.completions.create(model="gpt", prompt="a")
    with serving(writer, token=TOKEN) as port:
        address = f"http://127.0.0.1:{port}/v1"
        with openai.OpenAI(base_url=address, api_key=TOKEN) as known:
            assert [m.id for m in known.models.list()] == [NAME]
        with (
            openai.OpenAI(base_url=address, api_key="another") as unknown,
            pytest.raises(openai.AuthenticationError),
        ):
            unknown.models.list()


@pytest.mark.product(1)
@pytest.mark.parametrize("options", [[], ["--no-stream"]])
def test_llm_writes_a_text(saved, tmp_path, options):
    pytest.importorskip("llm")
    # it ends a prompt's lines itself, and knows no seed of this server unless it is given one
    expected = drawn(saved, "the", 50, 0.5, 1, 9, SamplingConstraints())[0]
    with serving(Writer(saved, NAME)) as port:
        (tmp_path / "extra-openai-models.yaml").write_text(
            f"- model_id: mine\n  model_name: {NAME}\n  completion: true\n"
            f"  api_base: http://127.0.0.1:{port}/v1\n"
        )
        argv = ["-m", "mine", "the", "-o", "max_tokens", "50", "-o", "temperature", "0.5"]
        done = subprocess.run(
            [sys.executable, "-m", "llm", *argv, "-o", "seed", "9", "--no-log", *options],
            env=os.environ | {"LLM_USER_PATH": str(tmp_path), "OPENAI_API_KEY": "none"},
            stdin=subprocess.DEVNULL, capture_output=True, encoding="utf-8",
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{expected}\n"
