//! What each family calls the encoder's modules in its weights files.
//!
//! One table a family, of the modules' paths without a model's prefix (`bert.`) and without the
//! `.weight` and `.bias` at the end.

use super::Family;

/// A module of the base that has weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BaseModule {
    /// The word embedding: weight `[vocabulary, embedding]`.
    WordEmbeddings,
    /// The position embedding: weight `[positions, embedding]`.
    PositionEmbeddings,
    /// The token type embedding: weight `[types, embedding]`.
    TokenTypeEmbeddings,
    /// The layer norm of the embeddings' sum: weight and bias `[embedding]`.
    EmbeddingsNorm,
    /// From embeddings to hidden states where they differ in width: weight `[hidden, embedding]` and
    /// bias `[hidden]`.
    EmbeddingsProjection,
    /// The attention bias of each bucket of relative positions: weight `[buckets, heads]`.
    RelativeAttentionBias,
    /// The projection of the first token's last hidden state that some heads read through a tanh:
    /// weight `[hidden, hidden]` and bias `[hidden]`. The encoder itself does without it.
    Pooler,
    /// A module of a layer, counted from 0 at the input.
    Layer(usize, LayerModule),
}

/// A module of a layer; each has a weight and a bias.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LayerModule {
    /// The queries' projection: weight `[hidden, hidden]`.
    Query,
    /// The keys' projection: weight `[hidden, hidden]`.
    Key,
    /// The values' projection: weight `[hidden, hidden]`.
    Value,
    /// The attention's output projection: weight `[hidden, hidden]`.
    AttentionOutput,
    /// The layer norm at the attention's end: weight `[hidden]`.
    AttentionNorm,
    /// The feed-forward block's first projection: weight `[intermediate, hidden]`.
    FeedForwardUp,
    /// The feed-forward block's second projection: weight `[hidden, intermediate]`.
    FeedForwardDown,
    /// The layer norm at the layer's end: weight `[hidden]`.
    FeedForwardNorm,
}

impl LayerModule {
    /// All modules of a layer, in the order in which a forward pass meets them.
    pub const ALL: [LayerModule; 8] = [
        LayerModule::Query,
        LayerModule::Key,
        LayerModule::Value,
        LayerModule::AttentionOutput,
        LayerModule::AttentionNorm,
        LayerModule::FeedForwardUp,
        LayerModule::FeedForwardDown,
        LayerModule::FeedForwardNorm,
    ];
}

/// A family's table.
struct ModuleNames {
    word_embeddings: &'static str,
    position_embeddings: &'static str,
    token_type_embeddings: Option<&'static str>,
    embeddings_norm: &'static str,
    embeddings_projection: Option<&'static str>,
    relative_attention_bias: Option<&'static str>,
    pooler: Option<&'static str>,
    /// What stands before a layer's number.
    layers: &'static str,
    query: &'static str,
    key: &'static str,
    value: &'static str,
    attention_output: &'static str,
    attention_norm: &'static str,
    feed_forward_up: &'static str,
    feed_forward_down: &'static str,
    feed_forward_norm: &'static str,
}

const BERT: ModuleNames = ModuleNames {
    word_embeddings: "embeddings.word_embeddings",
    position_embeddings: "embeddings.position_embeddings",
    token_type_embeddings: Some("embeddings.token_type_embeddings"),
    embeddings_norm: "embeddings.LayerNorm",
    embeddings_projection: None,
    relative_attention_bias: None,
    pooler: Some("pooler.dense"),
    layers: "encoder.layer",
    query: "attention.self.query",
    key: "attention.self.key",
    value: "attention.self.value",
    attention_output: "attention.output.dense",
    attention_norm: "attention.output.LayerNorm",
    feed_forward_up: "intermediate.dense",
    feed_forward_down: "output.dense",
    feed_forward_norm: "output.LayerNorm",
};

const ELECTRA: ModuleNames =
    ModuleNames { embeddings_projection: Some("embeddings_project"), pooler: None, ..BERT };

const DISTILBERT: ModuleNames = ModuleNames {
    token_type_embeddings: None,
    pooler: None,
    layers: "transformer.layer",
    query: "attention.q_lin",
    key: "attention.k_lin",
    value: "attention.v_lin",
    attention_output: "attention.out_lin",
    attention_norm: "sa_layer_norm",
    feed_forward_up: "ffn.lin1",
    feed_forward_down: "ffn.lin2",
    feed_forward_norm: "output_layer_norm",
    ..BERT
};

const MPNET: ModuleNames = ModuleNames {
    token_type_embeddings: None,
    relative_attention_bias: Some("encoder.relative_attention_bias"),
    query: "attention.attn.q",
    key: "attention.attn.k",
    value: "attention.attn.v",
    attention_output: "attention.attn.o",
    attention_norm: "attention.LayerNorm",
    ..BERT
};

impl Family {
    /// A module's path in this family's weights files, or nothing if the family never has it.
    pub fn module_name(self, module: BaseModule) -> Option<String> {
        let names = match self {
            Family::Bert | Family::Roberta => &BERT,
            Family::DistilBert => &DISTILBERT,
            Family::Electra => &ELECTRA,
            Family::MpNet => &MPNET,
        };
        let name = match module {
            BaseModule::WordEmbeddings => names.word_embeddings,
            BaseModule::PositionEmbeddings => names.position_embeddings,
            BaseModule::TokenTypeEmbeddings => names.token_type_embeddings?,
            BaseModule::EmbeddingsNorm => names.embeddings_norm,
            BaseModule::EmbeddingsProjection => names.embeddings_projection?,
            BaseModule::RelativeAttentionBias => names.relative_attention_bias?,
            BaseModule::Pooler => names.pooler?,
            BaseModule::Layer(layer, module) => {
                let name = match module {
                    LayerModule::Query => names.query,
                    LayerModule::Key => names.key,
                    LayerModule::Value => names.value,
                    LayerModule::AttentionOutput => names.attention_output,
                    LayerModule::AttentionNorm => names.attention_norm,
                    LayerModule::FeedForwardUp => names.feed_forward_up,
                    LayerModule::FeedForwardDown => names.feed_forward_down,
                    LayerModule::FeedForwardNorm => names.feed_forward_norm,
                };
                return Some(format!("{}.{layer}.{name}", names.layers));
            }
        };
        Some(name.to_owned())
    }
}
