use super::*;
use crate::config::Preset;

/// A Pfeiffer adapter as the library's second version wrote it.
fn fourteen_keys() -> Value {
    json!({
        "adapter_residual_before_ln": false,
        "cross_adapter": false,
        "inv_adapter": null,
        "inv_adapter_reduction_factor": null,
        "leave_out": [],
        "ln_after": false,
        "ln_before": false,
        "mh_adapter": false,
        "non_linearity": "relu",
        "original_ln_after": true,
        "original_ln_before": true,
        "output_adapter": true,
        "reduction_factor": 16,
        "residual_before_ln": true
    })
}

#[test]
fn what_is_written_is_read_back() {
    let mut configs: Vec<AdapterConfig> = Preset::ALL.map(Preset::config).into();
    let mut unusual = Preset::Pfeiffer.config();
    unusual.reduction_factor =
        ReductionFactor::PerLayer { layers: [(1, 8.0), (10, 1.33)].into(), default: Some(4.0) };
    unusual.non_linearity = Activation::GeluTanh;
    unusual.original_ln_after = false;
    unusual.ln_before = true;
    unusual.ln_after = true;
    unusual.init_weights = Initialisation::Houlsby;
    unusual.init_weights_seed = Some(-3);
    unusual.scaling = Scaling::Channel;
    unusual.use_gating = true;
    unusual.residual_before_ln = AdapterResidual::AfterAdd;
    unusual.adapter_residual_before_ln = true;
    unusual.leave_out = [0, 11].into();
    unusual.dropout = 0.1;
    let mut after_norm = Preset::Pfeiffer.config();
    after_norm.residual_before_ln = AdapterResidual::AfterNorm;
    after_norm.scaling = Scaling::Fixed(0.3);
    after_norm.reduction_factor = ReductionFactor::Uniform(3.83);
    configs.extend([unusual, after_norm]);
    for config in configs {
        let text = serde_json::to_string(&config).unwrap();
        let read: AdapterConfig = serde_json::from_str(&text).unwrap();
        assert_eq!(read, config, "{text}");
    }
}

#[test]
fn the_library_writes_33_fields_and_so_do_we() {
    let object = Preset::Houlsby.config().to_json();
    let fields = object.as_object().unwrap();
    assert_eq!(fields.len(), 33);
    for field in fields.keys() {
        let known = READ.contains(&field.as_str())
            || INERT.contains(&field.as_str())
            || UNSUPPORTED.iter().any(|(name, _)| name == field);
        assert!(known, "{field} is written and would not be read");
    }
    assert_eq!(object["reduction_factor"].to_string(), "16");
    assert_eq!(object["scaling"].to_string(), "1.0");
}

#[test]
fn old_forms_mean_what_they_meant() {
    let pfeiffer = Preset::Pfeiffer.config();
    let read = |value: &Value, vintage| AdapterConfig::from_json(value, vintage).unwrap();
    assert_eq!(read(&fourteen_keys(), Vintage::Unversioned), pfeiffer);
    assert_eq!(read(&json!("pfeiffer"), Vintage::Unversioned), pfeiffer);
    let first = json!({
        "LN_after": false, "LN_before": false, "MH_Adapter": false, "Output_Adapter": true,
        "adapter_residual_before_ln": false, "attention_type": "sent-lvl-dynamic",
        "new_attention_norm": false, "non_linearity": "relu", "original_ln_after": true,
        "original_ln_before": true, "reduction_factor": 16, "residual_before_ln": true
    });
    assert_eq!(read(&first, Vintage::Unversioned), pfeiffer);
    for (name, vintage, expected) in [
        ("gelu", Vintage::Unversioned, Activation::GeluTanh),
        ("gelu_orig", Vintage::Unversioned, Activation::Gelu),
        ("gelu", Vintage::Versioned, Activation::Gelu),
        ("swish", Vintage::Unversioned, Activation::Silu),
    ] {
        let mut value = fourteen_keys();
        value["non_linearity"] = json!(name);
        assert_eq!(read(&value, vintage).non_linearity, expected, "{name}, {vintage:?}");
    }
}

#[test]
fn absent_fields_have_the_defaults_of_the_library() {
    let value = json!({
        "mh_adapter": true, "output_adapter": true, "reduction_factor": 16, "non_linearity": "swish"
    });
    let config = AdapterConfig::from_json(&value, Vintage::Versioned).unwrap();
    assert_eq!(config, Preset::Houlsby.config());
}

#[test]
fn every_wrong_field_is_named() {
    for (field, value, expected) in [
        ("architecture", json!("lora"), "the architecture is \"lora\""),
        ("architecture", json!("union"), "the architecture is \"union\""),
        ("peft_type", json!("LORA"), "the architecture is \"LORA\""),
        ("phm_layer", json!(true), "\"phm_layer\" is true, which asks for"),
        ("inv_adapter", json!("nice"), "\"inv_adapter\" is \"nice\""),
        (
            "invertible_adapter",
            json!({"block_type": "nice"}),
            "\"invertible_adapter\" is an object",
        ),
        ("cross_adapter", json!(true), "\"cross_adapter\" is true"),
        ("stochastic_depth", json!(1.5), "\"stochastic_depth\" is 1.5"),
        ("stochastic_depth", json!("x"), "\"stochastic_depth\" is \"x\""),
        ("wings", json!(2), "an unknown field \"wings\" = 2"),
        ("mh_adapter", json!("yes"), "\"mh_adapter\" is \"yes\", expected true or false"),
        ("ln_before", json!(null), "\"ln_before\" is null, expected true or false"),
        ("reduction_factor", json!("16"), "\"reduction_factor\" is \"16\""),
        ("reduction_factor", json!(0), "\"reduction_factor\" is 0, expected a number above 0"),
        ("reduction_factor", json!({"1": -2}), "\"reduction_factor.1\" is -2"),
        ("reduction_factor", json!({"+1": 2}), "reduction_factor.\"+1\""),
        ("reduction_factor", json!({"01": 2}), "reduction_factor.\"01\""),
        ("reduction_factor", json!({"99999999999999999999": 2}), "99999999999999999999"),
        ("non_linearity", json!("elephant"), "\"non_linearity\" is \"elephant\", expected one of"),
        ("non_linearity", json!(3), "\"non_linearity\" is 3"),
        ("init_weights", json!("xavier"), "\"init_weights\" is \"xavier\""),
        ("init_weights_seed", json!(1.5), "\"init_weights_seed\" is 1.5"),
        ("scaling", json!("wild"), "\"scaling\" is \"wild\""),
        ("scaling", json!(null), "\"scaling\" is null"),
        ("residual_before_ln", json!("pre_add"), "\"residual_before_ln\" is \"pre_add\""),
        ("leave_out", json!([-1]), "\"leave_out\" is [-1]"),
        ("leave_out", json!("0"), "\"leave_out\" is \"0\""),
        ("dropout", json!("0.1"), "\"dropout\" is \"0.1\", expected a number"),
        ("dropout", json!(1.5), "\"dropout\" is 1.5"),
    ] {
        let mut object = fourteen_keys();
        object[field] = value;
        let error = AdapterConfig::from_json(&object, Vintage::Versioned).unwrap_err();
        assert!(error.to_string().contains(expected), "{field}: {error}");
    }
    for field in ["mh_adapter", "output_adapter", "reduction_factor", "non_linearity"] {
        let mut object = fourteen_keys();
        object.as_object_mut().unwrap().shift_remove(field);
        let error = AdapterConfig::from_json(&object, Vintage::Versioned).unwrap_err();
        assert!(error.to_string().contains(&format!("no field \"{field}\"")), "{error}");
    }
    for value in [json!(null), json!([]), json!(3)] {
        let error = AdapterConfig::from_json(&value, Vintage::Versioned).unwrap_err();
        assert!(matches!(error, ConfigError::NotAnObject { .. }), "{error}");
    }
}

#[test]
fn what_is_off_is_let_pass() {
    let mut object = fourteen_keys();
    for (field, value) in [
        ("phm_layer", json!(false)),
        ("phm_dim", json!(8)),
        ("inv_adapter", json!(null)),
        ("stochastic_depth", json!(0)),
        ("wings", json!(null)),
        ("tail", json!(false)),
        ("architecture", json!(null)),
    ] {
        object[field] = value;
    }
    let config = AdapterConfig::from_json(&object, Vintage::Versioned).unwrap();
    assert_eq!(config, Preset::Pfeiffer.config());
}
