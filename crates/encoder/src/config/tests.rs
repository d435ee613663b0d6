use std::path::Path;

use serde_json::{Value, json};

use super::{BaseModule, EncoderConfig, Family, LayerModule};
use crate::EncoderError;

/// A file as `transformers` writes it for each family, with small sizes.
fn file(model_type: &str) -> Value {
    let mut file = json!({
        "model_type": model_type, "architectures": ["AModel", "Another"], "_name_or_path": "org/name",
        "vocab_size": 50, "max_position_embeddings": 12, "initializer_range": 0.02,
    });
    let more = match model_type {
        "distilbert" => json!({
            "dim": 8, "n_layers": 2, "n_heads": 4, "hidden_dim": 16, "activation": "gelu",
            "dropout": 0.2, "attention_dropout": 0.3, "pad_token_id": 0,
            "sinusoidal_pos_embds": false
        }),
        _ => json!({
            "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 4,
            "intermediate_size": 16, "hidden_act": "gelu_new", "layer_norm_eps": 1e-5,
            "hidden_dropout_prob": 0.2, "attention_probs_dropout_prob": 0.3,
            "position_embedding_type": "absolute", "is_decoder": false, "pruned_heads": {}
        }),
    };
    let own = match model_type {
        "bert" => json!({"type_vocab_size": 2, "pad_token_id": 0}),
        "roberta" | "xlm-roberta" | "camembert" => json!({"type_vocab_size": 1, "pad_token_id": 1}),
        "electra" => json!({"type_vocab_size": 2, "pad_token_id": 0, "embedding_size": 4}),
        "mpnet" => json!({"relative_attention_num_buckets": 32, "pad_token_id": 1}),
        _ => json!({}),
    };
    for part in [more, own] {
        file.as_object_mut().unwrap().extend(part.as_object().unwrap().clone());
    }
    file
}

fn read(text: &str) -> Result<EncoderConfig, EncoderError> {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("config.json"), text).unwrap();
    EncoderConfig::from_dir(dir.path())
}

/// Stands in a change for a field that is taken out.
const ABSENT: &str = "(absent)";

/// The config of a family's file with fields set or taken out.
fn with(model_type: &str, changes: Value) -> Result<EncoderConfig, EncoderError> {
    let mut file = file(model_type);
    let fields = file.as_object_mut().unwrap();
    for (field, value) in changes.as_object().unwrap() {
        match value == ABSENT {
            true => fields.remove(field),
            false => fields.insert(field.clone(), value.clone()),
        };
    }
    read(&file.to_string())
}

#[test]
fn every_family_is_read_by_its_own_keys() {
    let cases = [
        // (model_type, family, embedding, types, pad, first position, longest row, buckets)
        ("bert", Family::Bert, 8, 2, 0, 0, 12, None),
        ("roberta", Family::Roberta, 8, 1, 1, 2, 10, None),
        ("xlm-roberta", Family::Roberta, 8, 1, 1, 2, 10, None),
        ("camembert", Family::Roberta, 8, 1, 1, 2, 10, None),
        ("distilbert", Family::DistilBert, 8, 0, 0, 0, 12, None),
        ("electra", Family::Electra, 4, 2, 0, 0, 12, None),
        ("mpnet", Family::MpNet, 8, 0, 1, 2, 10, Some(32)),
    ];
    for (model_type, family, embedding, types, pad, first, longest, buckets) in cases {
        let config = with(model_type, json!({})).unwrap();
        assert_eq!(config.family, family, "{model_type}");
        assert_eq!(config.model_type, model_type);
        assert_eq!(config.architectures, ["AModel", "Another"]);
        assert_eq!(config.name, "org/name");
        assert_eq!((config.vocab_size, config.hidden_size), (50, 8), "{model_type}");
        assert_eq!((config.num_hidden_layers, config.num_attention_heads), (2, 4), "{model_type}");
        assert_eq!((config.intermediate_size, config.head_width()), (16, 2), "{model_type}");
        assert_eq!(config.embedding_size, embedding, "{model_type}");
        assert_eq!(config.type_vocab_size, types, "{model_type}");
        assert_eq!(config.pad_token_id, pad, "{model_type}");
        assert_eq!(config.first_position(), first, "{model_type}");
        assert_eq!(config.longest_row(), longest, "{model_type}");
        assert_eq!(config.relative_attention_num_buckets, buckets, "{model_type}");
        let dropout = (config.hidden_dropout_prob, config.attention_probs_dropout_prob);
        assert_eq!(dropout, (0.2, 0.3), "{model_type}");
        let (activation, eps) = match family {
            Family::DistilBert => ("gelu", 1e-12),
            _ => ("gelu_new", 1e-5),
        };
        assert_eq!((config.activation.name(), config.layer_norm_eps), (activation, eps));
    }
}

#[test]
fn what_old_files_leave_out_is_what_the_class_takes() {
    let absent = json!({
        "layer_norm_eps": ABSENT, "pad_token_id": null, "position_embedding_type": null,
        "hidden_dropout_prob": null, "_name_or_path": null, "architectures": null
    });
    let bert = with("bert", absent.clone()).unwrap();
    assert_eq!((bert.layer_norm_eps, bert.pad_token_id), (1e-12, 0));
    assert_eq!((bert.hidden_dropout_prob, bert.name.as_str()), (0.1, ""));
    assert!(bert.architectures.is_empty());
    assert_eq!(with("roberta", absent).unwrap().first_position(), 2);
    let other_pad = with("mpnet", json!({"pad_token_id": 7})).unwrap();
    assert_eq!(other_pad.first_position(), 2, "MPNet's first position does not follow the id");
    assert_eq!(with("roberta", json!({"pad_token_id": 7})).unwrap().first_position(), 8);
}

#[test]
fn a_silent_file_has_the_values_of_its_class() {
    // The defaults of the configuration classes of transformers 4.57.6: (model_type, vocabulary,
    // embedding, hidden, layers, heads, intermediate, types, padding, buckets, dropout of heads).
    let cases = [
        ("bert", 30522, 768, 768, 12, 12, 3072, 2, 0, None, 0.1),
        ("roberta", 50265, 768, 768, 12, 12, 3072, 2, 1, None, 0.1),
        ("xlm-roberta", 30522, 768, 768, 12, 12, 3072, 2, 1, None, 0.1),
        ("camembert", 30522, 768, 768, 12, 12, 3072, 2, 1, None, 0.1),
        ("distilbert", 30522, 768, 768, 6, 12, 3072, 0, 0, None, 0.2),
        ("electra", 30522, 128, 256, 12, 4, 1024, 2, 0, None, 0.1),
        ("mpnet", 30527, 768, 768, 12, 12, 3072, 0, 1, Some(32), 0.1),
    ];
    for (
        model_type,
        vocabulary,
        embedding,
        hidden,
        layers,
        heads,
        wide,
        types,
        pad,
        buckets,
        head,
    ) in cases
    {
        let config = read(&json!({"model_type": model_type}).to_string()).unwrap();
        assert_eq!((config.vocab_size, config.embedding_size), (vocabulary, embedding));
        assert_eq!(
            (config.hidden_size, config.num_hidden_layers),
            (hidden, layers),
            "{model_type}"
        );
        assert_eq!((config.num_attention_heads, config.intermediate_size), (heads, wide));
        assert_eq!((config.type_vocab_size, config.pad_token_id), (types, pad), "{model_type}");
        assert_eq!(config.relative_attention_num_buckets, buckets, "{model_type}");
        assert_eq!((config.activation.name(), config.layer_norm_eps), ("gelu", 1e-12));
        assert_eq!(config.max_position_embeddings, 512, "{model_type}");
        let dropout = (config.hidden_dropout_prob, config.attention_probs_dropout_prob);
        assert_eq!((dropout, config.head_dropout()), ((0.1, 0.1), head), "{model_type}");
        assert!(config.assumed.len() >= 7, "{model_type}: {:?}", config.assumed);
    }
    assert_eq!(with("bert", json!({})).unwrap().assumed, [""; 0]);
    assert_eq!(with("bert", json!({"vocab_size": ABSENT})).unwrap().assumed, ["vocab_size"]);
}

#[test]
fn a_file_without_a_model_type_is_read_by_its_classes_its_directory_or_as_bert() {
    let read_in = |name: &str, change: Value| {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join(name);
        std::fs::create_dir(&dir).unwrap();
        let mut file = file("bert");
        file.as_object_mut().unwrap().remove("model_type");
        file.as_object_mut().unwrap().remove("architectures");
        file.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        std::fs::write(dir.join("config.json"), file.to_string()).unwrap();
        EncoderConfig::from_dir(&dir).unwrap()
    };
    let classes = json!({"architectures": ["Other", "RobertaForMaskedLM"]});
    for (directory, change, expected, first) in [
        ("TinyBERT_4L", json!({}), "bert", 0),
        ("TinyBERT_4L", json!({"model_type": null}), "bert", 0),
        ("TinyBERT_4L", classes.clone(), "roberta", 1),
        ("bert", classes, "roberta", 1),
        ("roberta-old", json!({"pad_token_id": 3}), "roberta", 4),
        ("roberta-old", json!({"architectures": ["BertModel"]}), "bert", 0),
    ] {
        let config = read_in(directory, change.clone());
        assert_eq!(config.model_type, expected, "{directory} {change}");
        assert_eq!(config.first_position() == 0, first == 0, "{directory} {change}");
        assert!(config.assumed.contains(&"model_type"), "{directory} {change}");
    }
}

#[test]
fn distilbert_s_sizes_may_have_the_names_that_others_have() {
    let names = json!({"dim": ABSENT, "hidden_size": 12, "num_attention_heads": 3});
    let config = with("distilbert", names).unwrap();
    // Where both are there transformers takes the general name.
    assert_eq!((config.hidden_size, config.num_attention_heads), (12, 3));
    assert_eq!(config.num_hidden_layers, 2);
}

#[test]
fn heads_have_the_dropout_that_the_file_gives_them() {
    for (model_type, change, expected) in [
        ("bert", json!({}), 0.2),
        ("bert", json!({"classifier_dropout": null}), 0.2),
        ("bert", json!({"classifier_dropout": 0.4}), 0.4),
        ("electra", json!({"classifier_dropout": 0}), 0.0),
        ("distilbert", json!({}), 0.2),
        ("distilbert", json!({"seq_classif_dropout": 0.5, "classifier_dropout": 0.1}), 0.5),
    ] {
        assert_eq!(with(model_type, change.clone()).unwrap().head_dropout(), expected, "{change}");
    }
}

#[test]
fn code_of_its_own_is_named_where_it_is_the_reason() {
    let map = json!({"AutoConfig": "org/code--configuration.C", "AutoModel": "modeling.M"});
    for (change, part) in [
        (json!({"model_type": "nomic_bert", "auto_map": map}), "\"nomic_bert\"; known are"),
        (json!({"position_embedding_type": "alibi", "auto_map": map}), "is \"alibi\""),
    ] {
        let message = with("bert", change).unwrap_err().to_string();
        assert!(message.contains(part), "{message}");
        assert!(message.contains("(AutoModel is \"modeling.M\" in"), "{message}");
    }
    // With a class of the library's, that is what AutoModel loads.
    let config = with("bert", json!({"auto_map": {"AutoTokenizer": ["t.Slow", null]}})).unwrap();
    assert_eq!(config.custom_code.as_deref(), Some("AutoTokenizer is \"t.Slow\""));
}

#[test]
fn a_wrong_field_is_an_error_that_names_it() {
    let cases = [
        // (model_type, changes, field, part of the reason)
        ("bert", json!({"model_type": "gpt2"}), "model_type", "mpnet"),
        ("bert", json!({"model_type": 3}), "model_type", "not a text"),
        (
            "bert",
            json!({"model_type": null, "architectures": ["AlbertForMaskedLM"]}),
            "architectures",
            "\"AlbertForMaskedLM\", and there is no \"model_type\"",
        ),
        ("bert", json!({"classifier_dropout": 1}), "classifier_dropout", "is 1"),
        ("distilbert", json!({"hidden_size": 9}), "n_heads", "does not divide the hidden size 9"),
        ("bert", json!({"vocab_size": null}), "vocab_size", "is null"),
        ("bert", json!({"vocab_size": 0}), "vocab_size", "is 0"),
        ("bert", json!({"vocab_size": 1u64 << 40}), "vocab_size", "16777216"),
        ("bert", json!({"hidden_size": -8}), "hidden_size", "-8"),
        ("bert", json!({"hidden_size": 8.5}), "hidden_size", "8.5"),
        ("bert", json!({"hidden_size": "8"}), "hidden_size", "\"8\""),
        ("bert", json!({"hidden_size": [8]}), "hidden_size", "a list"),
        ("bert", json!({"num_hidden_layers": 1_000_000}), "num_hidden_layers", "1024"),
        ("bert", json!({"num_attention_heads": 3}), "num_attention_heads", "does not divide"),
        ("bert", json!({"num_attention_heads": 16}), "num_attention_heads", "does not divide"),
        ("bert", json!({"intermediate_size": null}), "intermediate_size", "is null"),
        ("bert", json!({"max_position_embeddings": 0}), "max_position_embeddings", "is 0"),
        ("bert", json!({"type_vocab_size": null}), "type_vocab_size", "is null"),
        ("bert", json!({"hidden_act": "wavelet"}), "hidden_act", "known are"),
        ("bert", json!({"hidden_act": null}), "hidden_act", "is null"),
        ("bert", json!({"layer_norm_eps": 0.0}), "layer_norm_eps", "is 0"),
        ("bert", json!({"layer_norm_eps": "small"}), "layer_norm_eps", "\"small\""),
        ("bert", json!({"hidden_dropout_prob": 1.5}), "hidden_dropout_prob", "1.5"),
        ("bert", json!({"pad_token_id": 50}), "pad_token_id", "beyond"),
        ("bert", json!({"pad_token_id": -1}), "pad_token_id", "-1"),
        (
            "bert",
            json!({"position_embedding_type": "relative_key"}),
            "position_embedding_type",
            "only \"absolute\" is supported",
        ),
        ("bert", json!({"is_decoder": true}), "is_decoder", "only false"),
        ("bert", json!({"add_cross_attention": true}), "add_cross_attention", "only false"),
        ("bert", json!({"is_encoder_decoder": true}), "is_encoder_decoder", "only false"),
        ("bert", json!({"pruned_heads": {"0": [1]}}), "pruned_heads", "an object"),
        ("bert", json!({"quantization_config": {}}), "quantization_config", "not supported"),
        (
            "roberta",
            json!({"max_position_embeddings": 2}),
            "max_position_embeddings",
            "counts from 2",
        ),
        (
            "mpnet",
            json!({"max_position_embeddings": 1}),
            "max_position_embeddings",
            "counts from 2",
        ),
        (
            "mpnet",
            json!({"relative_attention_num_buckets": null}),
            "relative_attention_num_buckets",
            "is null",
        ),
        (
            "mpnet",
            json!({"relative_attention_num_buckets": 16}),
            "relative_attention_num_buckets",
            "only 32",
        ),
        ("electra", json!({"embedding_size": null}), "embedding_size", "is null"),
        ("distilbert", json!({"dim": null}), "dim", "is null"),
        ("distilbert", json!({"n_heads": 3}), "n_heads", "does not divide"),
        ("distilbert", json!({"activation": "x"}), "activation", "known are"),
    ];
    for (model_type, changes, expected, part) in cases {
        match with(model_type, changes.clone()) {
            Err(EncoderError::Field { path, field, reason }) => {
                assert_eq!(field, expected, "{changes}");
                assert!(reason.contains(part), "{changes}: {reason}");
                assert!(path.ends_with("config.json"), "{changes}");
            }
            other => panic!("{changes}: {other:?}"),
        }
    }
}

#[test]
fn a_file_that_is_no_configuration_is_an_error_that_names_it() {
    let deep = format!("{{\"model_type\":{}1{}}}", "[".repeat(100_000), "]".repeat(100_000));
    let cases = ["", "{", "[]", "3", "null", &deep, "{\"model_type\": \"bert\""];
    for text in cases {
        let error = read(text).unwrap_err();
        assert!(matches!(error, EncoderError::Json { .. }), "{error}");
        assert!(error.to_string().contains("config.json"), "{error}");
    }
    let error = EncoderConfig::from_dir(Path::new("no such directory")).unwrap_err();
    assert!(error.to_string().contains("no such directory holds no config.json"), "{error}");
}

#[test]
fn modules_have_the_names_of_each_family() {
    use BaseModule::{
        EmbeddingsProjection, Layer, RelativeAttentionBias, TokenTypeEmbeddings, WordEmbeddings,
    };
    use LayerModule::{AttentionNorm, FeedForwardDown, FeedForwardNorm, Query};
    let cases = [
        (Family::Bert, WordEmbeddings, Some("embeddings.word_embeddings")),
        (Family::Bert, TokenTypeEmbeddings, Some("embeddings.token_type_embeddings")),
        (Family::Bert, EmbeddingsProjection, None),
        (Family::Bert, RelativeAttentionBias, None),
        (Family::Bert, Layer(11, Query), Some("encoder.layer.11.attention.self.query")),
        (
            Family::Roberta,
            Layer(0, AttentionNorm),
            Some("encoder.layer.0.attention.output.LayerNorm"),
        ),
        (Family::Electra, EmbeddingsProjection, Some("embeddings_project")),
        (Family::DistilBert, TokenTypeEmbeddings, None),
        (Family::DistilBert, Layer(3, Query), Some("transformer.layer.3.attention.q_lin")),
        (Family::DistilBert, Layer(3, AttentionNorm), Some("transformer.layer.3.sa_layer_norm")),
        (Family::DistilBert, Layer(3, FeedForwardDown), Some("transformer.layer.3.ffn.lin2")),
        (
            Family::DistilBert,
            Layer(3, FeedForwardNorm),
            Some("transformer.layer.3.output_layer_norm"),
        ),
        (Family::MpNet, TokenTypeEmbeddings, None),
        (Family::MpNet, RelativeAttentionBias, Some("encoder.relative_attention_bias")),
        (Family::MpNet, Layer(0, Query), Some("encoder.layer.0.attention.attn.q")),
        (Family::MpNet, Layer(0, AttentionNorm), Some("encoder.layer.0.attention.LayerNorm")),
        (Family::MpNet, Layer(0, FeedForwardNorm), Some("encoder.layer.0.output.LayerNorm")),
    ];
    for (family, module, expected) in cases {
        assert_eq!(family.module_name(module).as_deref(), expected, "{family:?} {module:?}");
    }
}
