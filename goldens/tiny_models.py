"""Tiny encoders of every family with random weights that leave no term unseen, and rows to run through them."""
import math

import torch
import transformers as hf

VOCABULARY = 120

WITHOUT_DROPOUT = dict(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)


def sizes(hidden, heads, intermediate, layers):
    return dict(
        vocab_size=VOCABULARY, hidden_size=hidden, num_attention_heads=heads, intermediate_size=intermediate,
        num_hidden_layers=layers, **WITHOUT_DROPOUT,
    )


def bert_config(hidden=32, heads=4, intermediate=64, layers=3, **changes):
    return hf.BertConfig(**{**sizes(hidden, heads, intermediate, layers), "max_position_embeddings": 36, **changes})


def roberta_config(kind=hf.RobertaConfig, shape=(24, 3, 40, 2), **changes):
    rest = {"max_position_embeddings": 38, "type_vocab_size": 1, "layer_norm_eps": 1e-5}
    return kind(**{**sizes(*shape), **rest, **changes})


def distilbert_config():
    return hf.DistilBertConfig(
        vocab_size=VOCABULARY, dim=20, n_heads=4, hidden_dim=28, n_layers=2, max_position_embeddings=36,
        dropout=0.0, attention_dropout=0.0, seq_classif_dropout=0.0,
    )


def electra_config():
    rest = dict(embedding_size=10, max_position_embeddings=36, summary_last_dropout=0.0)
    return hf.ElectraConfig(**sizes(18, 3, 26, 2), **rest)


def mpnet_config():
    # Rows of 136 tokens: attention's buckets of relative positions end at a distance of 128.
    return hf.MPNetConfig(**sizes(16, 2, 24, 2), max_position_embeddings=138, layer_norm_eps=1e-5)


# Every family's names for the products that make attention's scores.
ATTENTION = (".query.", ".key.", "q_lin", "k_lin", ".attn.q.", ".attn.k.")


def randomise(model, seed):
    """Draws every parameter: layer norms around 1, biases that matter, attention that is not uniform."""
    generator = torch.Generator().manual_seed(seed)
    normal = lambda shape: torch.randn(shape, generator=generator)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            shape = parameter.shape
            if "norm" in name.lower():
                parameter.copy_(1 + 0.2 * normal(shape) if name.endswith("weight") else 0.1 * normal(shape))
            elif name.endswith("bias"):
                parameter.copy_(0.1 * normal(shape))
            elif "relative_attention_bias" in name:
                parameter.copy_(normal(shape))
            elif "embeddings." in name:
                parameter.copy_(0.5 * normal(shape))
            else:
                sharper = 1.5 if any(part in name for part in ATTENTION) else 1.0
                parameter.copy_(sharper / math.sqrt(shape[-1]) * normal(shape))
    return model.eval()


def draw_rows(seed, singles, pairs, special, types):
    """Rows of random ids, [(ids, type ids)]: one of each length in `singles`, then one pair per (first, second).

    `special`: the ids that begin a row, end it and stand before a second text, and the first id that is
    not special. A row of one token has only its beginning. `types`: the type of the second text.
    """
    begin, end, between, first = special
    generator = torch.Generator().manual_seed(seed)
    draw = lambda n: torch.randint(first, VOCABULARY, (n,), generator=generator).tolist()
    rows = []
    for length in singles:
        ids = ([begin] + draw(max(length - 2, 0)) + [end])[:length]
        rows.append((ids, [0] * length))
    for one, two in pairs:
        front = [begin] + draw(one) + between
        back = draw(two) + [end]
        rows.append((front + back, [0] * len(front) + [types] * len(back)))
    return rows


# begin, end, between the texts of a pair, first ordinary id
BERT_SPECIAL = (2, 3, [3], 5)
ROBERTA_SPECIAL = (0, 2, [2, 2], 5)
