"""Models that measure: their limits, padding tokens and labels as real checkpoints have them."""

import json
from pathlib import Path

import pytest

from arbitrage.errors import EngineStartError
from arbitrage.metrics.classifier import ClassifierMetricConfig
from arbitrage.metrics.likelihood import LikelihoodConfig
from arbitrage.models.loading import longest_input, padding_id
from arbitrage.text.text import Text
from tests.support.scoring import save_reward_model, save_roberta
from tests.support.tiny_model import save_model


def text(words: int) -> Text:
    return Text("red " * words, "en")


def edit(model: Path, **values: object) -> None:
    path = model / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | values), "utf-8")


@pytest.mark.model
def test_texts_longer_than_a_robertas_window_are_measured(tmp_path):
    model = save_roberta(tmp_path, num_labels=2, positions=66)
    metric = ClassifierMetricConfig(model=str(model), label=1).build()
    found = metric.measure([text(n) for n in (10, 50, 62, 63, 200)])
    assert [each.reason for each in found] == [None] * 5
    assert found[-1].value != found[0].value


@pytest.mark.model
def test_the_tokenizers_own_limit_counts_where_it_is_lower(tmp_path):
    model = save_roberta(tmp_path, num_labels=2, positions=66)
    path = model / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | {"model_max_length": 32}), "utf-8")
    metric = ClassifierMetricConfig(model=str(model), label=1).build()
    assert metric._room == 32
    assert metric.measure([text(200)])[0].value is not None


@pytest.mark.model
def test_a_label_must_be_named_where_there_are_several(tmp_path):
    model = save_roberta(tmp_path, num_labels=3, positions=66)
    with pytest.raises(EngineStartError, match=r"3 labels and no label is given: .*0 \(LABEL_0\), 1 \(LABEL_1\)"):
        ClassifierMetricConfig(model=str(model)).build()
    with pytest.raises(EngineStartError, match="'toxic' is none of its labels"):
        ClassifierMetricConfig(model=str(model), label="toxic").build()


@pytest.mark.model
def test_the_softmax_of_one_label_is_refused(tmp_path):
    model = save_reward_model(tmp_path)
    with pytest.raises(EngineStartError, match="softmax is always 1"):
        ClassifierMetricConfig(model=str(model)).build()
    assert ClassifierMetricConfig(model=str(model), scale="sigmoid").build().measure([text(2)])[0].value is not None


@pytest.mark.parametrize("pad", [-1, 10**6, None])
@pytest.mark.model
def test_a_padding_token_outside_the_vocabulary_is_none(tmp_path, pad):
    model = save_model(tmp_path)
    texts = [text(n) for n in (1, 7, 3)]
    expected = [each.value for each in LikelihoodConfig(model=str(model)).build().measure(texts)]
    edit(model, pad_token_id=pad)
    found = [each.value for each in LikelihoodConfig(model=str(model)).build().measure(texts)]
    assert found == pytest.approx(expected, rel=1e-4)


class _Part:
    model_type = "llama"
    vocab_size = 100

    def __init__(self, **values: object) -> None:
        vars(self).update(values)

    def get_text_config(self) -> "_Part":
        return self


class _Tokenizer:
    def __init__(self, length: object) -> None:
        self.model_max_length = length


@pytest.mark.parametrize(
    ("config", "told", "limit"),
    [
        ({"max_position_embeddings": 512}, 10**30, 512),
        ({"max_position_embeddings": 514, "model_type": "xlm-roberta", "pad_token_id": 1}, None, 512),
        ({"max_position_embeddings": 514, "model_type": "mpnet", "pad_token_id": 1}, 384, 384),
        ({"max_position_embeddings": 4098, "model_type": "longformer", "pad_token_id": 1}, 4096, 4096),
        ({"max_position_embeddings": 514, "model_type": "camembert", "pad_token_id": None}, None, 512),
        ({"max_position_embeddings": -1, "model_type": "xlnet"}, None, None),
        ({"n_positions": 1024, "model_type": "gpt2"}, None, 1024),
        ({"max_seq_len": 2048, "model_type": "mpt"}, 10**30, 2048),
        ({"model_type": "bloom"}, None, None),
        ({"model_type": "t5"}, 512, 512),
        ({"max_position_embeddings": True}, "many", None),
        ({"max_position_embeddings": "512"}, float("nan"), None),
    ],
)
def test_the_longest_input_of_a_family(config, told, limit):
    assert longest_input(_Part(**config), _Tokenizer(told)) == limit


@pytest.mark.parametrize(
    ("pad", "found"),
    [(0, 0), (99, 99), (100, None), (-1, None), (None, None), ("0", None), (True, None), ([1], None)],
)
def test_a_padding_token_is_one_of_the_vocabulary(pad, found):
    assert padding_id(_Part(pad_token_id=pad)) == found
