//! What a record must say of the machine.

use std::num::NonZero;

use serde_json::{Value, json};

/// The machine, as far as the system tells.
pub(super) struct Machine {
    cpu: String,
    cores: usize,
    memory_gb: Option<f64>,
}

impl Machine {
    pub(super) fn read() -> Machine {
        let line = |file: &str, name: &str| {
            let text = std::fs::read_to_string(file).ok()?;
            let line = text.lines().find_map(|line| line.strip_prefix(name))?;
            Some(line.trim_start_matches(['\t', ' ', ':']).to_owned())
        };
        let kib = line("/proc/meminfo", "MemTotal")
            .and_then(|text| text.split(' ').next()?.parse::<f64>().ok());
        Machine {
            cpu: line("/proc/cpuinfo", "model name").unwrap_or_else(|| "unnamed CPU".to_owned()),
            cores: std::thread::available_parallelism().map_or(1, NonZero::get),
            memory_gb: kib.map(|kib| kib * 1024.0 / 1e9),
        }
    }

    pub(super) fn json(&self) -> Value {
        json!({
            "cpu": self.cpu,
            "cores": self.cores,
            "memory_gb": self.memory_gb,
            "os": std::env::consts::OS,
            "arch": std::env::consts::ARCH,
        })
    }

    pub(super) fn words(&self) -> String {
        let memory = self.memory_gb.map(|gb| format!(", {gb:.1} GB")).unwrap_or_default();
        let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
        format!("{}, {} cores{memory}, {os} {arch}", self.cpu, self.cores)
    }
}
