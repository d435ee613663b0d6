//! Adapters and heads on disk: the `adapters` library's directories, read and written.
//!
//! | file | holds |
//! |---|---|
//! | `adapter_config.json` | [`AdapterConfig`](crate::config::AdapterConfig), the adapter's name, the encoder's type and width |
//! | `adapter.safetensors` or `pytorch_adapter.bin` | the adapter's tensors |
//! | `shared_adapter.safetensors` | instead: the tensors that all layers share, under their names in the lowest; the library knows no such adapter |
//! | `head_config.json` | the head's shape and its labels |
//! | `model_head.safetensors` or `pytorch_model_head.bin` | the head's tensors |
//! | `layer_norms.safetensors` | layer norms of the encoder that were trained too; the library ignores the file |
//! | `adaptkit.json` | what that library has no place for ([`Provenance`]); it ignores the file |
//!
//! A fusion's directory holds one of these for each member, and more: see [`StoredFusion`]; so does
//! that of another composition: see [`StoredComposition`].
//!
//! Here everything is plain numbers on the host: [`StoredAdapter`] and [`StoredHead`] know shapes
//! and names, not how to compute. A directory is read strictly: each tensor that the configuration
//! calls for is there with its shape and finite values, and no other is. The library itself logs
//! such deviations and goes on with random weights in the gaps.
//!
//! Only safetensors files are written; with the library they are loaded by
//! `load_adapter(path, use_safetensors=True)`. The JSON files are those that it would write, byte
//! for byte: keys sorted, two spaces, ASCII only.

mod adapter;
mod composition;
mod fusion;
mod head;
mod json;
mod labels;
mod layer_norms;
mod metadata;
mod nearby;
mod provenance;
mod tensor_names;
mod tensors;

pub use adapter::{StoredAdapter, StoredBottleneck, StoredGate, StoredNorm};
pub use composition::{StoredComposition, StoredParts};
pub use fusion::{StoredAttention, StoredFuse, StoredFusion};
pub use head::{HeadKind, StoredHead, StoredLinear};
pub use metadata::ModelReference;
pub(crate) use metadata::name_fault;
pub use nearby::NearbyHead;
pub use provenance::{BaseReference, Provenance, PrunedFrom, TokenizerReference};
pub use tensors::write_tensors;

/// The adapter's configuration.
pub const ADAPTER_CONFIG: &str = "adapter_config.json";
/// The adapter's tensors, as they are written.
pub const ADAPTER_WEIGHTS: &str = "adapter.safetensors";
/// The adapter's tensors, as the library writes them unless asked otherwise.
pub const ADAPTER_PICKLE: &str = "pytorch_adapter.bin";
/// The tensors of an adapter that all layers share.
pub const SHARED_WEIGHTS: &str = "shared_adapter.safetensors";
/// The head's configuration.
pub const HEAD_CONFIG: &str = "head_config.json";
/// The head's tensors, as they are written.
pub const HEAD_WEIGHTS: &str = "model_head.safetensors";
/// The head's tensors, as the library writes them unless asked otherwise.
pub const HEAD_PICKLE: &str = "pytorch_model_head.bin";
/// Which adapters a fusion's directory fuses.
pub const ADAPTER_SETUP: &str = "adapter_setup.json";
/// The fusion's configuration.
pub const FUSION_CONFIG: &str = "adapter_fusion_config.json";
/// The fusion's tensors, as they are written.
pub const FUSION_WEIGHTS: &str = "model_adapter_fusion.safetensors";
/// The fusion's tensors, as the library writes them unless asked otherwise.
pub const FUSION_PICKLE: &str = "pytorch_model_adapter_fusion.bin";
/// What only this project knows of an adapter.
pub const PROVENANCE: &str = "adaptkit.json";

/// Layer norms of the encoder that were trained with the adapter.
pub const LAYER_NORMS: &str = "layer_norms.safetensors";

/// Every file that an adapter's directory may consist of: what may be overwritten.
pub const ADAPTER_DIRECTORY: [&str; 9] = [
    ADAPTER_CONFIG,
    ADAPTER_WEIGHTS,
    ADAPTER_PICKLE,
    SHARED_WEIGHTS,
    HEAD_CONFIG,
    HEAD_WEIGHTS,
    HEAD_PICKLE,
    PROVENANCE,
    LAYER_NORMS,
];
