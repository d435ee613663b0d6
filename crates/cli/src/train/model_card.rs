//! The model card of an adapter's directory: the README.md that model hubs show.

use serde_json::{Map, Value};

use super::adapterdrop::AdapterDrop;
use super::subject::Begun;

/// What a card tells.
pub(crate) struct ModelCard<'a> {
    /// The adapter's name.
    pub(crate) name: &'a str,
    /// The base, as it was asked for.
    pub(crate) base: &'a str,
    pub(crate) task: Option<&'a str>,
    pub(crate) labels: &'a [String],
    pub(crate) subject: &'a Begun,
    pub(crate) adapterdrop: AdapterDrop,
    /// The run's hyper-parameters.
    pub(crate) training: &'a Map<String, Value>,
    /// The run's results.
    pub(crate) results: &'a Map<String, Value>,
    /// Of a pruned fusion, what was kept and by what.
    pub(crate) pruned: Option<&'a str>,
    /// Whether the Python library can run it, as far as the subject does not say.
    pub(crate) for_python: bool,
}

impl ModelCard<'_> {
    /// The card: YAML between two lines of dashes, then Markdown.
    pub(crate) fn text(&self) -> String {
        // A JSON string is a YAML one.
        let quoted = |text: &str| Value::from(text).to_string();
        let mut card = format!(
            "---\nlibrary_name: adaptkit\nbase_model: {}\npipeline_tag: text-classification\n\
             tags:\n- adaptkit\n- adapter-transformers\n---\n\n# {}\n\n",
            quoted(self.base),
            plain(self.name)
        );
        let count = |name: &str| self.results.get(name).and_then(Value::as_u64).unwrap_or(0);
        let (what, part) = match self.subject {
            Begun::Adapter { .. } => ("A bottleneck adapter".to_owned(), "adapter"),
            Begun::Fusion(_) => {
                let members = self.subject.members();
                let members: Vec<String> =
                    members.iter().map(|m| format!("`{}`", code(m))).collect();
                (format!("An AdapterFusion of {}", members.join(", ")), "fusion")
            }
        };
        card += &format!(
            "{what} and a head for the frozen encoder `{}`{}, trained with \
             Adaptkit {}: {} trained parameters beside the encoder's {}",
            code(self.base),
            self.task.map(|task| format!(", for the task `{}`", code(task))).unwrap_or_default(),
            env!("CARGO_PKG_VERSION"),
            count("trained_parameters"),
            count("base_parameters"),
        );
        let (shared, layer_norms) = match self.subject {
            Begun::Adapter { shared, layer_norms, .. } => (*shared, *layer_norms),
            Begun::Fusion(_) => (false, false),
        };
        if shared {
            card += "; all layers share one adapter (`shared_adapter.safetensors`)";
        }
        if layer_norms {
            card += "; the encoder's layer norms were trained too (`layer_norms.safetensors`)";
        }
        card += ".\n";
        card += &match self.adapterdrop {
            AdapterDrop::None => String::new(),
            AdapterDrop::Layers(n) => {
                format!("\nAdapterDrop: the lowest {n} layers have no {part}.\n")
            }
            AdapterDrop::Robust => format!(
                "\nAdapterDrop: trained to work without the {part}s of any number of the lowest \
                 layers (robust).\n"
            ),
        };
        if let Some(pruned) = self.pruned {
            card += &format!("\n{pruned}\n");
        }
        if !self.labels.is_empty() {
            let shown: Vec<String> =
                self.labels.iter().take(50).map(|label| format!("`{}`", code(label))).collect();
            let more = self.labels.len() - shown.len();
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            card += &format!("\nLabels: {}{more}.\n", shown.join(", "));
        }
        for (part, rows) in [("eval_", "validation"), ("test_", "test")] {
            let timing = ["runtime", "samples_per_second"];
            let told = |name: &str| name.strip_prefix(part).is_some_and(|n| !timing.contains(&n));
            let scores: Vec<_> = self.results.iter().filter(|(name, _)| told(name)).collect();
            if !scores.is_empty() {
                card +=
                    &format!("\n## Scores on the {rows} rows\n\n| metric | value |\n|---|---|\n");
            }
            for (name, value) in scores {
                card += &format!("| {} | {} |\n", plain(name).replace('|', "\\|"), shown(value));
            }
        }
        card += "\n## Use\n\n```sh\n";
        card += "adaptkit predict --model BASE --adapter DIRECTORY --input texts.txt\n```\n\n";
        if !shared && self.for_python {
            let call = match self.subject {
                Begun::Adapter { .. } => "load_adapter",
                Begun::Fusion(_) => "load_adapter_setup",
            };
            card += &format!(
                "With Python's `adapters` library: `model.{call}(DIRECTORY, use_safetensors=True)`.\n"
            );
        }
        card += "\n## Training\n\n| setting | value |\n|---|---|\n";
        for (name, value) in self.training {
            card += &format!("| {name} | {} |\n", shown(value));
        }
        let config = serde_json::to_string_pretty(&self.subject.config()).unwrap_or_default();
        card + "\nThe " + part + "'s configuration:\n\n```json\n" + &config + "\n```\n"
    }
}

/// A value in a table's cell; numbers with four significant digits.
fn shown(value: &Value) -> String {
    match value.as_f64() {
        Some(number) if value.is_f64() && number != 0.0 => {
            let magnitude = number.abs().log10().floor() as i32;
            let text = format!("{number:.*}", (3 - magnitude).clamp(0, 12) as usize);
            match text.contains('.') {
                true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
                false => text,
            }
        }
        _ => value.to_string().replace('|', "\\|"),
    }
}

/// Text in a line of its own.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Text between backquotes.
fn code(text: &str) -> String {
    plain(text).replace('`', "'")
}

#[cfg(test)]
mod tests {
    use super::*;
    use adaptkit::adapters::AdapterConfig;
    use serde_json::json;

    #[test]
    fn a_card_tells_base_scores_settings_and_how_to_use_it() {
        let results = json!({"test_f1": 0.75, "eval_accuracy": 0.5, "eval_runtime": 1.0, "eval_loss": 0.25,
            "trained_parameters": 7, "base_parameters": 100});
        let training = json!({"epochs": 3, "learning_rate": 5e-5});
        let config = AdapterConfig::preset("pfeiffer").expect("a preset");
        let subject =
            |shared, layer_norms| Begun::Adapter { config: config.clone(), shared, layer_norms };
        let plain = subject(false, false);
        let labels = ["a`b".to_owned(), "c\nd".to_owned()];
        let mut card = ModelCard {
            name: "na\nme",
            base: "some/\"base\"",
            task: Some("rte"),
            labels: &labels,
            subject: &plain,
            adapterdrop: AdapterDrop::Layers(5),
            training: training.as_object().expect("an object"),
            results: results.as_object().expect("an object"),
            pruned: None,
            for_python: true,
        };
        let text = card.text();
        for wanted in [
            "---\nlibrary_name: adaptkit\nbase_model: \"some/\\\"base\\\"\"\n",
            "\n# na me\n",
            "7 trained parameters beside the encoder's 100.",
            "AdapterDrop: the lowest 5 layers have no adapter.",
            "Labels: `a'b`, `c d`.",
            "| eval_accuracy | 0.5 |",
            "## Scores on the test rows",
            "| test_f1 | 0.75 |",
            "| learning_rate | 0.00005 |",
            "\"reduction_factor\": 16,",
            "use_safetensors=True",
        ] {
            assert!(text.contains(wanted), "{wanted:?} in {text}");
        }
        assert!(!text.contains("eval_runtime"));
        let shared = subject(true, true);
        (card.subject, card.adapterdrop) = (&shared, AdapterDrop::Robust);
        assert!(card.text().contains("(robust)"));
        assert!(card.text().contains("shared_adapter.safetensors"));
        assert!(!card.text().contains("use_safetensors=True"));
        assert!(card.text().contains("layer_norms.safetensors"));
        let nothing = Map::new();
        (card.subject, card.results) = (&plain, &nothing);
        (card.pruned, card.for_python) = (Some("Pruned from `a`, `b`."), false);
        let text = card.text();
        assert!(text.contains("\nPruned from `a`, `b`.\n"), "{text}");
        assert!(!text.contains("use_safetensors=True") && !text.contains("## Scores"), "{text}");
    }
}
